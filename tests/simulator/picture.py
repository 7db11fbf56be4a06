"""Is what the journal holds the same as what the core has in memory?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgpack

from kernel.core import Core
from kernel.records import Snapshot
from kernel.state import Peer, signed
from tests.simulator import invariants
from tests.simulator.violation import Violation, demand

if TYPE_CHECKING:
    from tests.simulator.simulation import Simulation

# What may lag behind in the journal: it is told, not relied on.
_LAGGING = ("last_error", "restarts", "plan")


def compare(simulation: Simulation, core: Core) -> None:
    """Hold the journal against memory, and a core recovered from it against both."""
    snapshot = simulation.kernel.journal.load()
    _compare_rows(snapshot, core)
    again = simulation.kernel.recovered_core(simulation.kernel.epoch + 1)
    invariants.check(again)
    _compare_mail(core, again)


def _same(promise: str, journal: Any, memory: Any) -> None:
    if journal != memory:
        only = {
            "journal": sorted(set(journal) - set(memory)),
            "memory": sorted(set(memory) - set(journal)),
        }
        both = [key for key in journal if key in memory and journal[key] != memory[key]]
        detail = [(key, *_difference(journal[key], memory[key])) for key in both][:2]
        raise Violation("the journal is what memory is", f"{promise}: {only} {detail}")


def _difference(journal: Any, memory: Any) -> tuple[Any, Any]:
    if not isinstance(journal, dict):
        return journal, memory
    keys = [key for key in journal if journal[key] != memory.get(key)]
    return {key: journal[key] for key in keys}, {key: memory.get(key) for key in keys}


def _compare_rows(rows: Snapshot, core: Core) -> None:
    state = core.state
    messages = {m.id: m.envelope.payload for m in state.messages.values()}
    pending = {
        c.id: None for c in state.calls._by_id.values() if not c.receiver and not c.is_finished
    }
    stored = {key: row[0].payload for key, row in rows["message"].items()}
    _same("messages", {k: v for k, v in stored.items() if rows["message"][k][0].receiver}, messages)
    system = {k: None for k, row in rows["message"].items() if not row[0].receiver}
    _same("system calls", system, pending)
    attempts = {m.id: m.attempts for m in state.messages.values() if m.attempts}
    _same("retries", {key: row[0] for key, row in rows["retry"].items()}, attempts)
    answers = {c.id: c.answer.payload for c in state.calls._by_id.values() if c.answer is not None}
    _same("answers", {key: row[0].payload for key, row in rows["answer"].items()}, answers)
    correlations = {
        c.id: c.correlation for c in state.calls._by_id.values() if c.claimed and c.turn
    }
    stored_as = {
        k: r[0].correlation for k, r in [*rows["answer"].items(), *rows["message"].items()]
    }
    _same("correlations", {k: v for k, v in stored_as.items() if k in correlations}, correlations)
    items = {
        (c.id, i): item.payload
        for c in state.calls._by_id.values()
        for i, item in enumerate(c.items)
    }
    _same("items", {key: row[0].payload for key, row in rows["item"].items()}, items)
    values = {(r.id, k): v for r in state.actors.values() for k, v in r.state.items()}
    _same("state", {key: row[0] for key, row in rows["state"].items()}, values)
    timers = {t.id: (t.actor, t.due_wall_ns) for t in state.durable_timers.values()}
    _same("timers", {key: row[:2] for key, row in rows["timer"].items()}, timers)
    handles = {(r.id, target): () for r in state.actors.values() for target in r.handles}
    _same("handles", rows["handle"], handles)
    letters = {n: letter.reason for n, letter in state.letters.letters.items()}
    kept = {n: msgpack.unpackb(row[1])[1] for n, row in rows["dead_letter"].items()}
    _same("letters", kept, letters)
    keyed = {key: k.answer is not None for key, k in state.keyed.items()}
    _same("keys", {key: row[1] is not None for key, row in rows["keyed"].items()}, keyed)
    _same("actors", _actors_stored(rows), _actors_known(core))
    routed = {m.id: m.pool for m in state.messages.values() if m.pool}
    _same("routed", {key: row[0] for key, row in rows["routed"].items()}, routed)
    pools = {pool.id: msgpack.unpackb(pool.to_row()[0]) for pool in state.pools.values()}
    _same("pools", {key: msgpack.unpackb(row[0]) for key, row in rows["pool"].items()}, pools)
    unpaid = {m.id: () for line in state.budgets.unpaid.values() for m in line}
    _same("unpaid", rows["unpaid"], unpaid)
    _same("condemned", rows["condemned"], state.condemned)
    own = {a.id: dict(a.own) for a in state.budgets.tree.accounts.values()}
    stored_own = {key: msgpack.unpackb(row[0])["own"] for key, row in rows["budget"].items()}
    used = {key: {r: n for r, n in found.items() if n} for key, found in own.items()}
    _same("what accounts have used", stored_own, used)
    _compare_marks(rows, core)


def _actors_stored(rows: Snapshot) -> dict[int, Any]:
    return {key: _without(msgpack.unpackb(row[0])) for key, row in rows["actor"].items()}


def _actors_known(core: Core) -> dict[int, Any]:
    return {r.id: _without(msgpack.unpackb(r.to_row()[0])) for r in core.state.actors.values()}


def _without(row: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in row.items() if key not in _LAGGING}
    if kept["status"] == "running":
        kept["status"] = "starting"  # an adopted one is "starting" again until its hello
    return kept


def _compare_marks(rows: Snapshot, core: Core) -> None:
    state = core.state
    peers: list[Peer] = [*state.actors.values(), *state.peers.sessions.values()]
    for peer in peers:
        channel = peer.channel
        row = rows["mark"].get(signed(peer.id))
        if channel is not None and channel.covered:
            demand(
                row is not None and row[1] == channel.covered,
                "marks are journaled",
                f"{peer.id:x}: covered {channel.covered}, the journal has {row}",
            )


def _compare_mail(core: Core, again: Core) -> None:
    """The recovered core would process the same messages, lane by lane in the same order."""
    for record in core.state.actors.values():
        other = again.state.actors.get(record.id)
        if other is None:
            raise Violation("recovery", f"{record.name} is lost")
        if record.pool is not None:
            continue  # a message that waits for room may get it, and a member, in the next epoch
        mine, theirs = _lanes(record, core), _lanes(other, core)
        demand(mine == theirs, "recovery", f"{record.name}: lanes {mine} become {theirs}")
    _compare_routes(core, again)
    unpaid, restored = _unpaid(core), _unpaid(again)
    demand(unpaid == restored, "recovery", f"unpaid {unpaid} become {restored}")
    calls = {c.id for c in core.state.calls._by_id.values()}
    found = {c.id for c in again.state.calls._by_id.values()}
    demand(found <= calls, "recovery", f"calls {sorted(found - calls)} come from nowhere")


def _compare_routes(core: Core, again: Core) -> None:
    """What a member has it keeps, and what a pool has it keeps."""
    for message in core.state.messages.values():
        other = again.state.messages.get(message.id)
        place = other.receiver if other is not None else None
        if message.receiver in core.state.pools:
            kept = place == message.receiver or place in core.state.pools[message.receiver].members
        else:
            kept = place == message.receiver
        demand(kept, "recovery", f"message {message.id} of {message.receiver} is {place}'s")


def _unpaid(core: Core) -> dict[int, list[int]]:
    return {sender: [m.id for m in line] for sender, line in core.state.budgets.unpaid.items()}


def _lanes(record: Any, core: Core) -> dict[tuple[int, int], list[int]]:
    """Return what stands where, without what one recovered core has just given to a member."""
    box = record.mailbox
    messages = [turn.message for turn in record.open.values() if not turn.is_cancelled]
    messages += box.queued() + [waiter for waiter in box.waiting if hasattr(waiter, "envelope")]
    lanes: dict[tuple[int, int], list[int]] = {}
    messages = [m for m in messages if core.state.messages[m.id].receiver == record.id]
    for message in sorted(messages, key=lambda item: item.order):
        lanes.setdefault((message.sender, message.envelope.priority), []).append(message.id)
    return lanes
