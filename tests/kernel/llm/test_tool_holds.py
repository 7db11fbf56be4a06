"""What a completion that ends with calls of tools leaves behind, on a scripted engine."""

from __future__ import annotations

import pytest

from ipc.protocol import Kind
from kernel.llm.scheduler import Scheduler
from kernel.policy.hold_time import ENOUGH
from tests.kernel.llm.engine_world import EngineWorld

SECOND = 1_000_000_000
PROMPT = "forty characters of a prompt, all alike."


def world_with_engine(llm_hold_s: float = 120.0, **facts: float) -> EngineWorld:
    world = EngineWorld(llm_hold_s=llm_hold_s)
    world.add_model()
    world.generate(world.client, "first", 1)
    start(world, facts)
    return world


def start(world: EngineWorld, facts: dict[str, float]) -> None:
    world.engine().ready(**facts)
    world.engine().run()


def scheduler_of(world: EngineWorld) -> Scheduler:
    engine = next(iter(world.core.parts.llm.engines))
    assert engine.scheduler is not None
    return engine.scheduler


def complete(world: EngineWorld, prompt: str = PROMPT, tool: str = "search", **more: int) -> int:
    """Have a completion end with a call of a tool (or none); returns its cached tokens."""
    asked = world.generate(world.client, prompt, 1, **more)
    engine = world.engine()
    engine.listen()
    while engine.plans:
        report = engine.model.carry_out(engine.plans.pop(0))
        for ended in report.get("ended", ()) if tool else ():
            ended["reason"] = "tool_calls"
            ended["tool_calls"] = [{"id": "1", "name": tool, "arguments": {}}]
        engine.say(Kind.REPORT, report)
        engine.listen()
    return int(world.client.answer(asked)["usage"]["cached_tokens"])


def held(world: EngineWorld) -> int:
    return scheduler_of(world).statistics().used


def test_a_context_is_held_while_its_tool_is_out_and_no_longer() -> None:
    world = world_with_engine()
    complete(world, tool="search")
    while_out = held(world)

    assert complete(world, PROMPT + " and its result", tool="") == 40

    assert (while_out, held(world)) == (10, 0)


def test_how_long_it_is_held_is_learned_from_how_long_the_tool_takes() -> None:
    """The pool takes a millisecond to compute: after the first few, slow tools are not held for."""
    world = world_with_engine()
    found = []
    for _ in range(ENOUGH + 1):
        complete(world, tool="slow")
        found.append(held(world))
        world.advance(30.0)
    complete(world, tool="slow")

    assert found[0] > 0
    assert held(world) == 0


def test_a_hold_ends_when_its_time_is_up() -> None:
    world = world_with_engine()
    complete(world, tool="search")

    world.advance(30.0)

    assert held(world) == 0


def test_a_hold_ends_with_its_session() -> None:
    world = world_with_engine()
    session = world.client.system("llm_session")["session"]
    complete(world, session=session)
    while_open = held(world)

    world.client.system("llm_close", session=session)

    assert (while_open, held(world)) == (10, 0)


HOST = {"num_host_blocks": 256, "swap_ns_per_block": 1.0, "num_blocks": 32}


def engine_status(world: EngineWorld) -> dict[str, int]:
    (status,) = world.client.system("llm_status")["engines"]
    return status


def crowd(world: EngineWorld) -> None:
    """Enough of others to evict what is not held."""
    for word in ("one ", "two ", "three "):
        complete(world, word * 20, tool="")


def test_a_context_whose_tool_takes_long_waits_on_the_host() -> None:
    world = world_with_engine(**HOST)
    complete(world, tool="slow")
    world.advance(30.0)
    crowd(world)

    assert complete(world, PROMPT + " and its result", tool="") == 40

    status = engine_status(world)
    assert (status["demoted_blocks"], status["promoted_blocks"]) == (10, 10)
    assert held(world) == 0


@pytest.mark.parametrize("dies", ["engine", "kernel"])
def test_what_is_on_the_host_is_nothing_to_a_new_engine_or_kernel(dies: str) -> None:
    world = world_with_engine(**HOST)
    complete(world, tool="slow")
    world.advance(30.0)
    crowd(world)
    assert engine_status(world)["demoted_blocks"] == 10

    agent = world.engine().agent
    if dies == "engine":
        agent.crash()
    else:
        world.kill_kernel()
        world.client.connect()
        agent.connect()
    start(world, HOST)

    assert complete(world, PROMPT + " and its result", tool="") == 0
    assert engine_status(world)["promoted_blocks"] == 0


def test_nothing_of_a_session_that_was_closed_is_copied_to_the_host() -> None:
    world = world_with_engine(**HOST)
    session = world.client.system("llm_session")["session"]
    complete(world, session=session)

    world.client.system("llm_close", session=session)
    world.advance(30.0)
    crowd(world)

    assert engine_status(world)["demoted_blocks"] == 0


@pytest.mark.parametrize("tool", ["search", ""])
def test_holding_can_be_turned_off(tool: str) -> None:
    world = world_with_engine(llm_hold_s=0)

    complete(world, tool=tool)

    assert held(world) == 0
