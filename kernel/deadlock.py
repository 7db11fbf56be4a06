"""Find a set of turns that all wait for each other (DESIGN 4a, "Deadlock, exactly").

A turn is stuck when everything it waits for is stuck: an ask that is being handled waits for
that turn; an ask or a reservation that has not started waits for its receiver, and cannot
start while all of the receiver's turns are stuck. Pure function over a view of the graph;
timers and clients never appear in it, so they never close a ring.

Cost: O(turns + waits reachable from the asking turn); the caller skips it when the receiver
can start another turn, which is the usual case. With ``only``, the other waits of the turn itself
cost nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Wait:
    """What a turn waits for: the end of ``turn``, or else a free turn or room at ``actor``."""

    actor: int
    turn: int | None = None
    is_room: bool = False


class WaitGraph(Protocol):
    """What the search needs to know."""

    def waits_of(self, turn: int) -> Iterable[Wait] | None:
        """Return what the turn waits for, or None when it can go on by itself."""
        ...

    def stuck_candidates(self, actor: int) -> list[int] | None:
        """Return the turns that occupy the actor, or None when it can start another one."""
        ...

    def room_candidates(self, actor: int) -> list[int] | None:
        """Return the turns that keep the actor's mailbox full, or None when room will come."""
        ...


def find_deadlock(graph: WaitGraph, turn: int, only: Wait | None = None) -> dict[int, list[Wait]]:
    """Return the stuck turns with their waits if ``turn`` is stuck, else an empty dict.

    only: take this for all that ``turn`` waits for. Who waits for more is stuck no sooner: where
        this finds nothing, the whole search would find nothing either.
    """
    waits: dict[int, list[Wait]] = {}
    blockers: dict[int, list[list[int] | None]] = {}
    frontier = [turn]
    while frontier:
        current = frontier.pop()
        if current in blockers:
            continue
        found = [only] if only is not None and current == turn else graph.waits_of(current)
        waits[current] = list(found) if found is not None else []
        blockers[current] = _blockers(graph, waits[current])
        frontier += [other for group in blockers[current] if group for other in group]
    stuck = _fixpoint(blockers)
    return {key: waits[key] for key in stuck} if turn in stuck else {}


def _blockers(graph: WaitGraph, waits: list[Wait]) -> list[list[int] | None]:
    """Return per wait the turns that hold it up; [None] for a turn that can go on."""
    if not waits:
        return [None]
    return [_group(graph, wait) for wait in waits]


def _group(graph: WaitGraph, wait: Wait) -> list[int] | None:
    if wait.turn is not None:
        return [wait.turn]
    if wait.is_room:
        return graph.room_candidates(wait.actor)
    return graph.stuck_candidates(wait.actor)


def _fixpoint(blockers: dict[int, list[list[int] | None]]) -> set[int]:
    """Return the largest set in which each wait of each turn is held up by members only."""
    stuck = set(blockers)
    changed = True
    while changed:
        free = {
            turn
            for turn in stuck
            if any(group is None or not stuck.issuperset(group) for group in blockers[turn])
        }
        stuck -= free
        changed = bool(free)
    return stuck
