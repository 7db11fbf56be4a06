"""Sessions: their tokens are kept, their model version is theirs, and they end with their owner."""

from typing import Any

import pytest

from ipc.errors import (
    BadPromptError,
    LLMOSError,
    ModelInUseError,
    UnknownSessionError,
    from_wire,
)
from tests.kernel.llm.engine_world import EngineWorld, completion_of


@pytest.fixture
def world() -> EngineWorld:
    world = EngineWorld()
    world.add_model()
    return world


def open_session(world: EngineWorld, **arguments: Any) -> int:
    return int(world.client.system("llm_session", **arguments)["session"])


def error_of(world: EngineWorld, correlation: int) -> LLMOSError:
    return from_wire(world.client.answer(correlation))


def test_a_session_goes_on_from_its_tokens(world: EngineWorld) -> None:
    session = open_session(world)
    first = world.generate(world.client, "Hello", 4, session=session)
    world.engine().ready()
    world.engine().run()
    second = world.generate(world.client, " and", 4, session=session)
    world.engine().run()

    whole = "Hello" + world.client.answer(first)["text"] + " and"
    assert world.client.answer(second)["text"] == completion_of(whole.encode(), 4)
    assert world.client.answer(second)["usage"]["cached_tokens"] >= 8


def test_appended_text_is_part_of_the_next_prompt(world: EngineWorld) -> None:
    session = open_session(world)
    added = world.client.ask_system("llm_append", session=session, input={"prompt": "Hello"})
    asked = world.generate(world.client, "", 4, session=session)
    world.engine().ready()
    world.engine().run()

    assert world.client.answer(added)["tokens"] == 5
    assert world.client.answer(asked)["text"] == completion_of(b"Hello", 4)


def test_requests_in_one_session_wait_for_each_other(world: EngineWorld) -> None:
    session = open_session(world)
    asked = [world.generate(world.client, f"{n}", 3, session=session) for n in range(4)]
    world.engine().ready()

    world.engine().run()

    text = ""
    for number, correlation in enumerate(asked):
        text += str(number)
        text += completion_of(text.encode(), 3)
        assert text.endswith(world.client.answer(correlation)["text"])


def test_a_chat_keeps_its_messages(world: EngineWorld) -> None:
    session = open_session(world)
    asked = []
    world.client.system("model_load", name="m")
    world.engine().ready()
    for text in ("Hi", "More"):
        message = {"role": "user", "content": text}
        asked.append(
            world.generate(world.client, "", 3, session=session, input={"messages": [message]})
        )
        world.engine().run()

    first, second = (world.client.answer(correlation)["text"] for correlation in asked)
    prompt = f"<user>Hi<assistant>{first}<user>More"
    assert second == completion_of(prompt.encode(), 3)


def test_text_and_chat_are_not_mixed_in_a_session(world: EngineWorld) -> None:
    session = open_session(world)
    world.generate(world.client, "Hello", 2, session=session)
    world.engine().ready()
    world.engine().run()
    messages = {"messages": [{"role": "user", "content": "Hi"}]}
    asked = world.generate(world.client, "", 2, session=session, input=messages)
    world.engine().run()

    assert isinstance(error_of(world, asked), BadPromptError)


def test_forks_go_on_by_themselves_and_compute_their_context_once(world: EngineWorld) -> None:
    session, context = open_session(world), "a long context " * 20
    world.client.ask_system("llm_append", session=session, input={"prompt": context})
    world.engine().ready()
    world.engine().run()
    forks = world.client.system("llm_fork", session=session, count=8)

    asked = [
        world.generate(world.client, f" branch {n}", 4, session=fork["session"])
        for n, fork in enumerate(forks)
    ]
    world.engine().run()

    for number, correlation in enumerate(asked):
        whole = f"{context} branch {number}".encode()
        assert world.client.answer(correlation)["text"] == completion_of(whole, 4)
    assert world.engine().computed_tokens < len(context) + 8 * (9 + 4 + 4)


@pytest.mark.parametrize("is_read", [False, True])
@pytest.mark.parametrize("num_tokens", [2000, 2007])
def test_eight_branches_of_a_long_context_compute_it_once(num_tokens: int, is_read: bool) -> None:
    world = EngineWorld()
    world.add_model()
    session = open_session(world)
    facts = {"block_size": 16, "num_blocks": 512, "max_context": 4096, "max_step_tokens": 512}
    context = "a long context "[: num_tokens % 15] + "a long context " * (num_tokens // 15)
    world.client.ask_system("llm_append", session=session, input={"prompt": context})
    world.engine().ready(**facts)
    world.engine().run()
    if is_read:  # by the parent itself, whose request has ended
        world.generate(world.client, "", 1, session=session)
        world.engine().run()
    before = world.engine().computed_tokens

    forks = world.client.system("llm_fork", session=session, count=8)
    asked = [
        world.generate(world.client, f"{n} branch", 4, session=fork["session"])
        for n, fork in enumerate(forks)
    ]
    world.engine().run()

    for number, correlation in enumerate(asked):
        whole = (completion_of(context.encode(), 1) if is_read else "") + f"{number} branch"
        assert world.client.answer(correlation)["text"] == completion_of(
            (context + whole).encode(), 4
        )
    usages = [world.client.answer(correlation)["usage"] for correlation in asked]
    prefilled = sum(usage["prompt_tokens"] - usage["cached_tokens"] for usage in usages)
    own = 8 * len("0 branch")
    assert len(context) == num_tokens
    if is_read:  # the part of a block that nobody has any more, by those who come at once
        assert prefilled <= own + 8 * (num_tokens % 16 + 1)
    else:
        assert prefilled == num_tokens + own
    assert world.engine().computed_tokens - before <= prefilled + 8 * 4


def test_a_session_outlives_the_kernel(world: EngineWorld) -> None:
    session = open_session(world)
    first = world.generate(world.client, "Hello", 4, session=session)
    engine = world.engine()
    engine.ready()
    engine.run()
    world.kill_kernel()
    world.client.connect()
    engine.agent.connect()
    engine.ready()

    second = world.generate(world.client, " and", 4, session=session)
    engine.run()

    whole = "Hello" + world.client.answer(first)["text"] + " and"
    assert world.client.answer(second)["text"] == completion_of(whole.encode(), 4)


def test_a_session_stays_on_the_version_it_began_with(world: EngineWorld) -> None:
    session = open_session(world)
    world.generate(world.client, "Hello", 2, session=session)
    world.engine().ready()
    world.engine().run()

    world.add_model()
    old = world.generate(world.client, "more", 2, session=session)
    new = world.generate(world.client, "Hello", 2)
    world.engine("engine.m.1").run()
    world.engine("engine.m.2").ready()
    world.engine("engine.m.2").run()

    assert world.client.answer(old)["usage"]["version"] == 1
    assert world.client.answer(new)["usage"]["version"] == 2


def test_engines_of_an_old_version_leave_with_its_last_session(world: EngineWorld) -> None:
    session = open_session(world)
    world.generate(world.client, "Hello", 2, session=session)
    world.engine().ready()
    world.engine().run()
    world.add_model()
    assert world.core.state.names.find("engine.m.1") is not None

    world.client.system("llm_close", session=session)

    assert world.core.state.names.find("engine.m.1") is None


def test_a_model_in_use_is_not_removed(world: EngineWorld) -> None:
    session = open_session(world)
    refused = world.client.ask_system("model_remove", name="m")
    world.client.system("llm_close", session=session)
    removed = world.client.system("model_remove", name="m")

    assert isinstance(error_of(world, refused), ModelInUseError)
    assert removed == {}
    assert "m" not in [model["name"] for model in world.client.system("models")]


def test_a_session_belongs_to_its_owner(world: EngineWorld) -> None:
    agent = world.spawn("agent")
    world.client.ask(agent.id, "work")
    session = open_session(world)

    correlation = agent.system(agent.turn_of("work"), "llm_close", session=session)

    assert isinstance(from_wire(agent.answer(correlation)), UnknownSessionError)


@pytest.mark.parametrize("commits", [True, False])
def test_sessions_of_a_turn_that_never_commits_are_closed(
    world: EngineWorld, commits: bool
) -> None:
    agent = world.spawn("agent")
    world.client.ask(agent.id, "work")
    turn = agent.turn_of("work")
    agent.system(turn, "llm_session")

    if commits:
        agent.commit(turn)
    else:
        agent.fail(turn, BadPromptError(problem="no"))

    (line,) = [model for model in world.client.system("models") if model["name"] == "m"]
    assert line["sessions"] == (1 if commits else 0)


def test_sessions_of_a_terminated_agent_are_closed(world: EngineWorld) -> None:
    agent = world.spawn("agent")
    world.client.ask(agent.id, "work")
    turn = agent.turn_of("work")
    agent.system(turn, "llm_session")
    agent.commit(turn)

    world.client.system("kill", actor="agent")

    assert world.journal.load()["llm_session"] == {}
    (line,) = [model for model in world.client.system("models") if model["name"] == "m"]
    assert line["sessions"] == 0


def test_a_pinned_session_keeps_its_blocks_while_others_need_room(world: EngineWorld) -> None:
    session, context = open_session(world), "a long context " * 20
    world.client.ask_system("llm_append", session=session, input={"prompt": context})
    world.generate(world.client, "", 1, session=session)
    world.engine().ready()
    world.engine().run()
    world.client.system("llm_pin", session=session, ttl_s=60)
    for number in range(12):
        world.generate(world.client, f"{number} " * 120, 1)
        world.engine().run()

    asked = world.generate(world.client, "", 1, session=session)
    world.engine().run()

    assert world.client.answer(asked)["usage"]["cached_tokens"] >= len(context) - 4
