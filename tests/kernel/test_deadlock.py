"""kernel/deadlock.py against brute force over all sets of turns."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from kernel.deadlock import Wait, find_deadlock
from tests.trials import trials


@dataclass
class Graph:
    """turns: what each waits for (None: it runs); busy: who occupies an actor (None: free)."""

    turns: dict[int, list[Wait] | None]
    busy: dict[int, list[int] | None] = field(default_factory=dict)
    room: dict[int, list[int] | None] = field(default_factory=dict)

    def waits_of(self, turn: int) -> Iterable[Wait] | None:
        return self.turns.get(turn)

    def stuck_candidates(self, actor: int) -> list[int] | None:
        return self.busy.get(actor)

    def room_candidates(self, actor: int) -> list[int] | None:
        return self.room.get(actor)

    def holders(self, wait: Wait) -> list[int] | None:
        if wait.turn is not None:
            return [wait.turn]
        return self.room.get(wait.actor) if wait.is_room else self.busy.get(wait.actor)


def brute_force(graph: Graph) -> set[int]:
    """Return the union of all sets in which every wait of every member is held by members."""
    found: set[int] = set()
    waiting = [turn for turn, waits in graph.turns.items() if waits]
    for size in range(1, len(waiting) + 1):
        for members in combinations(waiting, size):
            if all(
                (holders := graph.holders(wait)) is not None and set(holders) <= set(members)
                for turn in members
                for wait in graph.turns[turn] or ()
            ):
                found |= set(members)
    return found


def test_two_who_ask_each_other_are_stuck() -> None:
    graph = Graph({1: [Wait(20, turn=2)], 2: [Wait(10)]}, {10: [1]})

    assert set(find_deadlock(graph, 1)) == {1, 2}
    assert find_deadlock(graph, 2)[2] == [Wait(10)]


def test_who_waits_for_one_that_runs_is_not_stuck() -> None:
    graph = Graph({1: [Wait(20, turn=2)], 2: None})

    assert find_deadlock(graph, 1) == {}


def test_a_second_turn_of_the_receiver_opens_the_ring() -> None:
    graph = Graph({1: [Wait(20, turn=2)], 2: [Wait(10)]}, {10: None})

    assert find_deadlock(graph, 1) == {}


def test_one_answer_still_to_come_keeps_a_turn_free() -> None:
    graph = Graph({1: [Wait(20, turn=2), Wait(30, turn=3)], 2: [Wait(10)], 3: None}, {10: [1]})

    assert find_deadlock(graph, 1) == {}


def test_a_wait_for_room_closes_a_ring_like_an_ask() -> None:
    graph = Graph({1: [Wait(20, turn=2)], 2: [Wait(10, is_room=True)]}, room={10: [1]})

    assert set(find_deadlock(graph, 2)) == {1, 2}


def test_a_turn_that_waits_for_a_ring_is_stuck_with_it() -> None:
    graph = Graph({1: [Wait(20, turn=2)], 2: [Wait(10)], 3: [Wait(10, turn=1)]}, {10: [1], 20: [2]})

    assert set(find_deadlock(graph, 3)) == {1, 2, 3}


TURNS = st.integers(1, 5)
ACTORS = st.integers(10, 13)
WAITS = st.builds(Wait, ACTORS, st.none() | TURNS, st.booleans())
HOLDERS = st.dictionaries(ACTORS, st.none() | st.lists(TURNS, min_size=1, max_size=3))


@settings(max_examples=trials(500), deadline=None)
@given(
    st.dictionaries(TURNS, st.none() | st.lists(WAITS, min_size=1, max_size=3), min_size=1),
    HOLDERS,
    HOLDERS,
)
def test_the_search_finds_exactly_the_stuck_turns(
    turns: dict[int, list[Wait] | None],
    busy: dict[int, list[int] | None],
    room: dict[int, list[int] | None],
) -> None:
    graph = Graph(turns, busy, room)
    stuck = brute_force(graph)

    for turn in turns:
        found = find_deadlock(graph, turn)
        assert (turn in stuck) == bool(found)
        assert set(found) <= stuck
        for wait in turns[turn] or ():
            assert find_deadlock(graph, turn, only=wait) or not found
