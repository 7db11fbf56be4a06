"""The end of a history: no more faults, an operator mends and frees, all must come to rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.actor_record import Status
from tests.simulator import invariants, standing
from tests.simulator.plan import MS, S
from tests.simulator.violation import Violation, demand

if TYPE_CHECKING:
    from tests.simulator.simulation import Simulation

REST_S = 400  # virtual seconds in which everything must have ended


def settle(simulation: Simulation) -> None:
    """Turn the faults off and step until nothing is left to do; then check the rest."""
    world = simulation.world
    world.note("CALM")
    world.has_faults = False
    simulation.kernel.tell("storage", 1 << 40)
    simulation.kernel.tell("sampled", simulation.kernel.machine())
    limit_ns = world.now_ns + REST_S * S
    next_look_ns = 0
    while True:
        world.step()
        if world.now_ns < next_look_ns:
            continue
        next_look_ns = world.now_ns + 500 * MS
        if world.now_ns > limit_ns:
            text = f"still at work: {unrest(simulation)}{standing.describe(simulation)}"
            raise Violation("everything ends", text)
        _mend(simulation)
        if not unrest(simulation):
            break
    check_rest(simulation)


def _mend(simulation: Simulation) -> None:
    """An operator starts what is stopped, failed or held back, and lets drained resources work."""
    kernel = simulation.kernel
    if not kernel.is_alive:
        return
    assert kernel.core is not None
    for resource in kernel.core.state.inventory:
        taken = max(0, -resource.change)
        if resource.is_draining or taken:  # a member of a pool that needs some would never start
            given = {"name": resource.name, "amount": taken}
            simulation.living_client().system("resource_add", given)
    broken = (Status.STOPPED, Status.FAILED, Status.QUARANTINED)
    for record in list(kernel.core.state.actors.values()):
        if record.status in broken and not record.has_process:
            client = simulation.living_client()
            client.system("restart", {"actor": record.id})
        if record.account is not None and record.account.limits:
            client = simulation.living_client()
            limits = dict.fromkeys(record.account.limits)
            client.system("budget_set", {"actor": record.id, "limits": limits})


def unrest(simulation: Simulation) -> str:
    """Return what is not at rest yet, or an empty string."""
    kernel = simulation.kernel
    if kernel.core is None:
        return "the kernel is down"
    state = kernel.core.state
    if state.messages:
        return f"messages {sorted(state.messages)[:10]}"
    if len(state.calls):
        return "calls"
    if state.durable_timers:
        return f"timers {sorted(state.durable_timers)[:10]}"
    for record in state.actors.values():
        if record.pool is not None:
            continue  # its members tell
        if record.status is not Status.RUNNING:
            return f"actor {record.id} is {record.status.value}"
        if (record.id, record.incarnation) not in simulation.processes.living:
            return f"actor {record.id} has just ended"
        if record.open or record.channel is None or record.channel.num_kept:
            return f"actor {record.id} has turns {list(record.open)} or frames on the way"
    for agent in simulation.processes.living.values():
        if agent.channel.num_kept or agent.open or agent.queue:
            return f"agent {agent.id} incarnation {agent.incarnation} is at work"
    for client in simulation.clients:
        if not client.is_content or (client.is_alive and client.channel.num_kept):
            return f"client {client.index} waits: {list(client.calls)} {client.tells} {client.held}"
    dead = {client.id for client in simulation.clients if not client.is_alive}
    if any(session in dead for session in state.peers.sessions):
        return "a lost session"
    return ""


def check_rest(simulation: Simulation) -> None:
    """Nothing is left over anywhere."""
    simulation.kernel.flush()
    core = simulation.kernel.core
    assert core is not None
    state = core.state
    demand(
        not len(state.calls), "no call is left", str([c.id for c in state.calls._by_id.values()])
    )
    demand(state.slots.used == 0, "slots are free at rest", str(state.slots.used))
    demand(not state.slots.is_contended, "nobody stands in line at rest", "")
    demand(state.urgency.is_empty, "nothing is raised at rest", str(state.urgency.inherited))
    demand(not state.budgets.unpaid, "nothing is unpaid at rest", str(state.budgets.unpaid))
    demand(not len(state.budgets.lines), "nobody waits for budget at rest", "")
    demand(not state.spawned, "no child hangs on a turn at rest", str(state.spawned))
    agents = simulation.processes.living
    for record in state.actors.values():
        box = record.mailbox
        demand(box.used_messages == box.used_bytes == 0, "mailboxes are empty at rest", record.name)
        demand(not box.waiting and not len(box), "mailboxes are empty at rest", record.name)
        agent = agents.get((record.id, record.incarnation))
        lent = agent.room.lent if agent is not None else {}
        for target, amount in record.lent.items():
            # An agent may think it holds more: what it had told with room of an earlier epoch
            # was taken from the room of this one. Never less: that room would be lost.
            held = lent.get(target, [0, 0])
            demand(
                amount[0] <= held[0] and amount[1] <= held[1],
                "credit is what agents hold",
                f"{record.name}: the kernel lent {record.lent}, the agent holds {lent}",
            )
    invariants.check(core)
    simulation.checker.check_rest(core)
