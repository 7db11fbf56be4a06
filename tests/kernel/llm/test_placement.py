"""Which engine of a model computes a request: the balancing policies, over scripted engines."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipc.errors import BY_CODE, UnknownPolicyError
from kernel.llm.prefix_index import BLOCK, PrefixIndex
from kernel.policy.balance_names import BALANCERS
from tests.kernel.llm.engine_world import EngineWorld

ENGINES = ("engine.m.1.1", "engine.m.1.2", "engine.m.1.3")
LONG = "An agent that is asked about the same page again and again begins with it each time. "


def world_of(count: int, **config: object) -> EngineWorld:
    world = EngineWorld(**config)
    world.add_model(engines=count)
    world.client.ask_system("model_load", name="m")
    for name in ENGINES[:count]:
        world.engine(name).ready()
    return world


def prepare(world: EngineWorld, count: int) -> None:
    for name in ENGINES[:count]:
        world.engine(name).listen()


def loads(world: EngineWorld, count: int) -> list[int]:
    engines = {engine.name: engine for engine in world.core.llm.engines}
    return [len(engines[name].jobs) for name in ENGINES[:count]]


def ask(world: EngineWorld, prompt: str, count: int = 2) -> int:
    correlation = world.generate(world.client, prompt, 4)
    prepare(world, count)
    return correlation


def test_requests_without_a_common_beginning_are_spread() -> None:
    world = world_of(3)

    for number in range(9):
        ask(world, f"{number} {LONG}", 3)

    assert loads(world, 3) == [3, 3, 3]


def test_a_prompt_goes_where_its_beginning_was_computed_unless_that_is_far_too_busy() -> None:
    world = world_of(2)
    ask(world, LONG)
    at_first = loads(world, 2)

    for number in range(8):
        ask(world, f"{LONG}{number}")
    assert sorted(loads(world, 2)) == [0, 9]
    assert loads(world, 2).index(9) == at_first.index(1)

    ask(world, f"{LONG}more")
    assert sorted(loads(world, 2)) == [1, 9]


def test_an_engine_that_was_lost_has_no_beginnings_any_more() -> None:
    world = world_of(2)
    ask(world, LONG)
    name = ENGINES[loads(world, 2).index(1)]
    index = world.core.llm.generation.placement._index
    assert len(index) > 0

    world.engine(name).agent.crash()

    assert all(len(engines) == 1 for engines in index._engines.values())  # of where it went on


def test_round_robin_takes_engines_in_turn_whatever_they_have() -> None:
    world = world_of(3, llm_placement="round_robin")

    for _ in range(6):
        ask(world, LONG, 3)

    assert loads(world, 3) == [2, 2, 2]


def test_an_engine_that_answers_slowly_gets_less_under_response_time() -> None:
    world = world_of(2, llm_placement="response_time")
    slow, quick = (world.engine(name) for name in ENGINES[:2])
    for _ in range(4):
        ask(world, LONG)
    quick.run()
    world.advance(3)
    slow.run()

    for number in range(6):
        ask(world, f"{number}")

    assert loads(world, 2)[0] == 0


def test_placement_can_be_changed_at_run_time_and_holds_over_a_restart() -> None:
    world = EngineWorld()

    answer = world.client.system("policy_set", kind="placement", name="p2c")
    refused = world.client.system("policy_set", kind="placement", name="fcfs")
    world.kill_kernel()
    world.client.connect()
    rows = {row["kind"]: row for row in world.client.system("policies")}

    assert (answer["policy"], answer["source"]) == ("p2c", "set")
    assert rows["placement"]["policy"] == "p2c"
    assert set(rows["placement"]["known"]) == set(BALANCERS)
    assert BY_CODE[refused["code"]] is UnknownPolicyError
    assert "least_outstanding" in refused["fields"]["known"]


def test_an_unknown_placement_in_the_configuration_stops_the_start() -> None:
    with pytest.raises(UnknownPolicyError, match="p2c"):
        EngineWorld(llm_placement="nearest")


# --- the index of beginnings -----------------------------------------------------------------


PROMPTS = st.lists(st.integers(0, 1), max_size=5)  # each number stands for a block


def blocks(numbers: list[int]) -> np.ndarray:
    return np.repeat(np.array(numbers, np.int32), BLOCK)


@given(st.lists(st.tuples(st.integers(1, 3), PROMPTS), max_size=12), PROMPTS)
def test_the_index_finds_each_engines_longest_common_beginning(
    sent: list[tuple[int, list[int]]], asked: list[int]
) -> None:
    index = PrefixIndex()
    for engine, numbers in sent:
        index.note(engine, blocks(numbers))

    expected: dict[int, int] = {}
    for engine, numbers in sent:
        same = next(
            (at for at, pair in enumerate(zip(numbers, asked, strict=False)) if len(set(pair)) > 1),
            min(len(numbers), len(asked)),
        )
        if same:
            expected[engine] = max(expected.get(engine, 0), same * BLOCK)

    assert index.match(blocks(asked)) == expected


def test_the_index_is_bounded_and_forgets_the_least_recent() -> None:
    index = PrefixIndex(max_blocks=4)
    index.note(1, blocks([1, 2]))
    index.note(1, blocks([3, 4]))
    index.note(1, blocks([1, 2]))

    index.note(1, blocks([5, 6]))

    assert len(index) == 4
    assert index.match(blocks([1, 2])) == {1: 2 * BLOCK}
    assert index.match(blocks([3, 4])) == {}


def test_less_than_a_block_is_no_beginning() -> None:
    index = PrefixIndex()
    index.note(1, np.zeros(BLOCK - 1, np.int32))

    assert len(index) == 0
    assert index.match(np.zeros(BLOCK - 1, np.int32)) == {}
