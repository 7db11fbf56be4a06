"""What a completion that ends with calls of tools leaves behind, on a scripted engine."""

from __future__ import annotations

import pytest

from ipc.protocol import Kind
from kernel.llm.scheduler import Scheduler
from kernel.policy.hold_time import ENOUGH
from tests.kernel.llm.engine_world import EngineWorld

SECOND = 1_000_000_000
PROMPT = "forty characters of a prompt, all alike."


def world_with_engine(**config: float) -> EngineWorld:
    world = EngineWorld(**config)
    world.add_model()
    world.generate(world.client, "first", 1)
    world.engine().ready()
    world.engine().run()
    return world


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


@pytest.mark.parametrize("tool", ["search", ""])
def test_holding_can_be_turned_off(tool: str) -> None:
    world = world_with_engine(llm_hold_s=0)

    complete(world, tool=tool)

    assert held(world) == 0
