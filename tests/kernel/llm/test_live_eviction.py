"""An eviction policy at work on an engine's blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ipc.errors import UnknownPolicyError
from kernel.llm.live_eviction import LiveEviction
from kernel.policy.eviction import EvictionPolicy, Use
from kernel.policy.eviction_names import EVICTION_POLICIES
from tests.kernel.llm.world import World, prompt

BLOCKS = 64  # of the world's engine, 4 tokens each


class Spoken(EvictionPolicy):
    """Gives up the programs it is told to, and notes what it hears."""

    def __init__(self) -> None:
        self.uses: list[Use] = []
        self.pieces: dict[str, list[int]] = {}
        self.first = ""
        self.steps = 0

    def used(self, use: Use) -> None:
        self.uses.append(use)
        self.pieces[use.program] = list(use.chain)

    def evict(self, count: int, keep: Any, now_s: float) -> list[int]:
        order = sorted(self.pieces, key=lambda program: program != self.first)
        named = [piece for program in order for piece in reversed(self.pieces[program])]
        for piece in named[:count]:
            for pieces in self.pieces.values():
                if piece in pieces:
                    pieces.remove(piece)
        return named[:count]

    def forget(self, blocks: Any) -> None:
        raise AssertionError("nobody says this")

    def work(self) -> None:
        self.steps += 1


@pytest.fixture
def spoken(monkeypatch: pytest.MonkeyPatch) -> Spoken:
    policy = Spoken()
    monkeypatch.setitem(EVICTION_POLICIES, "spoken", lambda capacity: policy)
    monkeypatch.setattr("kernel.llm.live_eviction.PIECE_TOKENS", 8)
    return policy


def serve(world: World, seed: int, program: int, count: int = 40) -> int:
    """Compute a request; returns how many of its prompt's tokens were found cached."""
    request = world.add(prompt(count, seed), max_tokens=2, program=program)
    world.run()
    return request.cached_tokens


def test_what_a_policy_gives_up_goes_and_what_it_keeps_is_found_again(spoken: Spoken) -> None:
    """Seven prompts, six of which fit: the oldest goes, were it not for the policy."""
    spoken.first = "p3"
    found = {}
    for name in ("lru", "spoken"):
        world = World(eviction=name)
        for number in range(1, 8):
            serve(world, number, number)
        found[name] = [serve(world, number, number) for number in (1, 3)]
        world.scheduler.check_integrity()

    kept, given_up = found["spoken"]
    assert (kept, given_up < 36) == (36, True)
    assert found["lru"][0] < 36


def test_equal_content_has_one_name_and_its_use_says_what_was_found(spoken: Spoken) -> None:
    world = World(eviction="spoken")
    serve(world, 1, 1)
    serve(world, 1, 2)

    first, second = spoken.uses

    assert first.chain == second.chain
    assert (first.num_found, second.num_found) == (0, 4)
    assert (first.program, second.program) == ("p1", "p2")


def test_a_policy_learns_a_little_in_each_step(spoken: Spoken) -> None:
    world = World(eviction="spoken")
    serve(world, 1, 1)

    assert spoken.steps >= world.scheduler.statistics().steps > 0


def test_whatever_is_cached_belongs_to_a_piece(spoken: Spoken) -> None:
    """41 tokens are ten full blocks: five pieces of two; 37 leave one over, which is a piece."""
    world = World(eviction="spoken")
    serve(world, 1, 1, count=39)
    serve(world, 2, 2, count=35)
    serve(world, 3, 3, count=3)

    assert [len(use.chain) for use in spoken.uses] == [5, 5, 1]


@pytest.mark.parametrize("name", ["due", "lfu", "s3_fifo"])
def test_no_policy_changes_what_is_computed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many requests that share beginnings, on an engine that holds a few of them."""
    monkeypatch.setattr("kernel.llm.live_eviction.PIECE_TOKENS", 8)
    world = World(eviction=name, max_running=3)
    numbers = np.random.default_rng(3)
    for number in range(80):
        shared = prompt(24, int(numbers.integers(6)))
        own = prompt(int(numbers.integers(1, 40)), 100 + number)
        world.add(np.concatenate([shared, own]), max_tokens=9, program=number % 7)
        if number % 8 == 7:
            world.run()

    world.check_results()
    world.scheduler.check_integrity()
    eviction = world.scheduler._shared.eviction
    assert isinstance(eviction, LiveEviction)
    assert len(eviction._blocks) <= eviction._max_pieces + 16


def test_an_unknown_eviction_policy_is_refused() -> None:
    with pytest.raises(UnknownPolicyError, match="due"):
        World(eviction="fastest")
