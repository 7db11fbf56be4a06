"""Where everything stands: for whoever reads a history that does not come to rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.actor_record import ActorRecord
from kernel.calls import Call
from tests.simulator.agent import VirtualAgent

if TYPE_CHECKING:
    from tests.simulator.simulation import Simulation


def describe(simulation: Simulation) -> str:
    """Return all actors, their turns and agents, and all calls, a line each."""
    core = simulation.kernel.core
    if core is None:
        return ""
    state = core.state
    lines = ["", f"slots {state.slots.used}/{state.slots.limit}"]
    for record in state.actors.values():
        lines += _actor(record)
        agent = simulation.processes.living.get((record.id, record.incarnation))
        if agent is not None:
            lines += _agent(agent)
    return "\n".join(lines + [_call(call) for call in state.calls._by_id.values()])


def _actor(record: ActorRecord) -> list[str]:
    box = record.mailbox
    facts = {
        "status": record.status.value,
        "incarnation": record.incarnation,
        "slots": record.slots,
        "concurrency": record.concurrency,
        "solo": sorted(record.solo),
        "refusing": record.is_refusing,
        "queue": [message.id for message in box.queued()],
        "used": (box.used_messages, box.limit_messages, box.used_bytes, box.limit_bytes),
        "lent": (box.lent_messages, box.lent_bytes),
        "blocked": list(box._blocked),
        "line": [getattr(waiter, "id", waiter) for waiter in box.waiting],
        "borrowed": record.lent,
    }
    turns = [
        f"   turn {number} outstanding {turn.outstanding} reservations {turn.reservations}"
        f" starved {turn.is_starved} cancelled {turn.is_cancelled}"
        for number, turn in record.open.items()
    ]
    return [f"{record.name} {record.id} {facts}", *turns]


def _agent(agent: VirtualAgent) -> list[str]:
    facts = {
        "up": agent.is_up,
        "open": [(turn.id, list(turn.calls)) for turn in agent.open.values()],
        "queue": [envelope.message for envelope in agent.queue],
        "uncovered": list(agent.uncovered),
        "lent": agent.room.lent,
        "waiting": {key: [w.size for w in waits] for key, waits in agent.room.waiting.items()},
        "kept": agent.channel.num_kept,
        "awaits_state": agent._awaits_state,
    }
    return [f"   agent {facts}"]


def _call(call: Call) -> str:
    return (
        f"call {call.id} of {call.owner:x} turn {call.turn} number {call.correlation}"
        f" to {call.receiver} finished {call.is_finished} claimed {call.claimed}"
        f" items {len(call.items)} credit {call.credit}"
    )
