"""kernel/llm/served.py: the book of what each version of a model has answered."""

from typing import Any

import pytest

from tests.kernel.llm.engine_world import EngineWorld, completion_of

NOTHING = {"completions": 0, "prompt_tokens": 0, "cached_tokens": 0, "completion_tokens": 0}
ARGUMENTS = {"input": {"prompt": "Hello"}, "sampling": {"max_tokens": 20}}
ONE = {"completions": 1, "prompt_tokens": 5, "cached_tokens": 0, "completion_tokens": 20}


@pytest.fixture
def world() -> EngineWorld:
    world = EngineWorld()
    world.add_model()
    return world


def served(world: EngineWorld, label: str = "m@1") -> dict[str, Any]:
    """Return what ``models`` says of a version."""
    (found,) = [
        info["served"]
        for info in world.client.system("models")
        if f"{info['name']}@{info['version']}" == label
    ]
    return dict(found)


@pytest.mark.parametrize("victim", ["kernel", "agent", "engine"])
@pytest.mark.parametrize("steps", [0, 1, 19, 20, 21])
def test_a_completion_is_counted_once_whatever_dies(
    world: EngineWorld, steps: int, victim: str
) -> None:
    agent = world.spawn("agent")
    world.client.ask(agent.id, "work")
    agent.system(agent.turn_of("work"), "llm_generate", **ARGUMENTS)
    world.engine().ready()
    for _ in range(steps):
        world.engine().step()

    if victim == "kernel":
        world.kill_kernel()
        world.client.connect()
        world.engine().agent.connect()
        world.engine().ready()
        agent.connect()
    else:
        (agent if victim == "agent" else world.engine().agent).crash()
        agent = world.agent(agent.id)
        if victim == "engine":
            world.engine().ready()
    again = None
    if victim == "agent":
        again = agent.system(agent.turn_of("work"), "llm_generate", **ARGUMENTS)
    world.engine().run()

    if again is not None:
        assert agent.answer(again)["text"] == completion_of(b"Hello", 20)
    assert {**served(world), "cached_tokens": 0} == ONE


def test_versions_of_a_name_have_books_of_their_own_that_kernels_hand_on(
    world: EngineWorld,
) -> None:
    asked = world.generate(world.client, "Hello", 20)
    world.engine().ready()
    world.engine().run()
    assert world.client.answer(asked)
    world.add_model()

    world.kill_kernel()
    world.client.connect()

    assert served(world, "m@1") == ONE
    assert served(world, "m@2") == NOTHING


def test_what_was_not_answered_is_not_counted(world: EngineWorld) -> None:
    world.generate(world.client, "Hello", 20)
    world.engine().ready()
    world.engine().step()

    assert served(world) == NOTHING
