"""What goes wrong, and when: each kind of fault at its own rate, until the world is calm."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from kernel.core import Core
from kernel.policy.policy_names import POLICIES
from kernel.pools.pool import Member
from tests.simulator.plan import S

if TYPE_CHECKING:
    from tests.simulator.client import VirtualClient
    from tests.simulator.simulation import Simulation

PHASES = ("between", "before commit", "after commit", "emitting")


class Faults:
    """See the module head."""

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation
        self.world = simulation.world

    def begin(self) -> None:
        """Plan the first fault of each kind."""
        plan = self.simulation.plan
        for rate, fault in (
            (plan.breaks, self._break_link),
            (plan.crashes, self._crash_agent),
            (plan.kills, self._kill_kernel),
            (plan.operations, self._operate),
            (plan.lost_clients, self._lose_client),
            (plan.low_storage, self._fill_storage),
            (2 * plan.budgets, self._change_limits),
            (plan.looks, self._look),
            (6 * plan.pools, self._treat_pool),
        ):
            if rate:
                self._next(rate, fault)

    def _next(self, rate: float, fault: Callable[[], None]) -> None:
        self.world.after(self.world.rng.expovariate(rate) * S, self._strike, rate, fault)

    def _strike(self, rate: float, fault: Callable[[], None]) -> None:
        if self.world.has_faults:
            fault()
            self._next(rate, fault)

    def _break_link(self) -> None:
        simulation, rng = self.simulation, self.world.rng
        peers = [*simulation.processes.living.values(), *simulation.clients]
        peer = rng.choice([peer for peer in peers if peer.is_alive] or [None])
        if peer is not None and peer.link is not None:
            self.world.note("BREAK", peer.id)
            silence = rng.choice([0, 10_000_000, S, S, 25 * S if peer.role == "client" else 0])
            peer.link.break_off(tell_after_ns=silence)

    def _crash_agent(self) -> None:
        living = list(self.simulation.processes.living.values())
        if not living:
            return
        agent = self.world.rng.choice(living)
        chance = self.world.rng.random()
        if chance < 0.2:
            agent.hang()
        elif chance < 0.3:
            agent.seize()
        else:
            self.simulation.processes.crash(agent)

    def _kill_kernel(self) -> None:
        self.simulation.kernel.kill(self.world.rng.choice(PHASES))

    def _operate(self) -> None:
        simulation, rng = self.simulation, self.world.rng
        if not simulation.targets:
            return
        client, actor = simulation.living_client(), rng.choice(simulation.targets)
        name = rng.choice(["kill", "stop", "restart", "restart", "ps", "inspect", "retry_letter",
                           "drop_letter", "status", "shutdown", "policy_set",
                           "resource"])  # fmt: skip
        if name == "shutdown" and rng.random() < 0.7:
            return
        if name in ("retry_letter", "drop_letter"):
            self._treat_letter(name)
        elif name == "resource":
            self._change_resource(client)
        elif name == "policy_set":
            client.system(name, {"kind": "turns", "name": rng.choice(sorted(POLICIES))})
        elif name == "kill" and len(simulation.targets) < 3:
            return
        else:
            client.system(name, {"actor": actor} if name not in ("ps", "status") else {})

    def _treat_pool(self) -> None:
        """An operator resizes a pool, or kills, stops or restarts a member in the worst moment."""
        rng, core = self.world.rng, self.simulation.kernel.core
        if core is None or not core.state.pools:
            return
        client, pool = self.simulation.living_client(), rng.choice([*core.state.pools.values()])
        if rng.random() < 0.05:
            minimum = rng.randint(1, 4)
            limits = {"minimum": minimum, "maximum": minimum + rng.randint(0, 2)}
            client.system("pool_resize", {"pool": pool.id, **limits})
        elif pool.members:
            worst = partial(_has_made, core)
            member = max(pool.members.values(), key=worst)
            if not any(worst(member)[:2]) and rng.random() < 0.9:
                return  # it waits for a better one
            client.system(rng.choice(["kill", "kill", "stop", "restart"]), {"actor": member.id})

    def _change_limits(self) -> None:
        """An operator tops a budget up, or lowers it as far as it is not used."""
        simulation, rng = self.simulation, self.world.rng
        if simulation.targets:
            client, actor = simulation.living_client(), rng.choice(simulation.targets)
            amounts = {"messages": rng.randint(-3, 10), "bytes": rng.randint(-500, 5000)}
            client.system("budget_top_up", {"actor": actor, "amounts": amounts})

    def _change_resource(self, client: VirtualClient) -> None:
        rng = self.world.rng
        call = rng.choice(["resource_add", "resource_remove", "resource_drain"])
        name = rng.choice(["cpu", "memory", "licence", "turn-slots"])
        arguments = {"name": name, "amount": rng.choice([0, 1, 300])}
        client.system(call, {"name": name} if call == "resource_drain" else arguments)

    def _treat_letter(self, name: str) -> None:
        client = self.simulation.living_client()
        call = client.system("dead_letters", {"limit": 5})

        def listed() -> None:
            if call.error is None and call.value and client.is_alive:
                letter = self.world.rng.choice(call.value)
                client.system(name, {"number": letter["number"]})

        call.then(listed)

    def _lose_client(self) -> None:
        client = self.simulation.living_client()
        self.world.note("CLIENT lost", client.index)
        if self.world.rng.random() < 0.5:
            client.farewell()
        else:
            client.die()

    def _look(self) -> None:
        """The kernel looks at the machine, which is not always the same one."""
        self.simulation.kernel.tell("sampled", self.simulation.kernel.machine())

    def _fill_storage(self) -> None:
        kernel = self.simulation.kernel
        kernel.tell("storage", 0)
        self.world.after(self.world.rng.random() * S, kernel.tell, "storage", 1 << 40)


def _has_made(core: Core, member: Member) -> tuple[int, int, int]:
    """Return how much would go to another member: children, calls of open turns; messages."""
    state = core.state
    turns = state.actors[member.id].open
    children = sum(len(state.spawned.get(turn, ())) for turn in turns)
    return children, sum(map(state.calls.num_of_turn, turns)), member.replica.outstanding
