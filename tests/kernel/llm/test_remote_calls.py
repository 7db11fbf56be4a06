"""Remote models: limits hold for all, refusals are tried again, doubt is said."""

from typing import Any

import pytest

from ext.wire import Envelope
from ipc.errors import (
    BadPromptError,
    EndpointError,
    InDoubtError,
    LLMOSError,
    UsageError,
    from_wire,
    to_wire,
)
from ipc.plain import decode_plain
from ipc.protocol import Flag, Kind
from tests.kernel.llm.engine_world import EngineWorld, ScriptedEngine

USAGE = {"prompt_tokens": 3, "cached_tokens": 1, "completion_tokens": 2}


@pytest.fixture
def world() -> EngineWorld:
    return remote_world()


def remote_world(**spec: Any) -> EngineWorld:
    world = EngineWorld()
    world.add_model(**spec)
    world.client.system("model_load", name="m")
    world.engine().ready(block_size=0)
    return world


def calls(engine: ScriptedEngine) -> list[Envelope]:
    """Prepare what is to be prepared; return the calls that have come since."""
    found = []
    for _ in range(3):
        for envelope in engine.news():
            if envelope.kind == Kind.PREPARE:
                engine.say(Kind.PREPARED, {"ids": b""}, correlation=envelope.correlation)
            elif envelope.kind == Kind.CALL:
                found.append(envelope)
    return found


def done(engine: ScriptedEngine, call: Envelope, text: str = "Hi!") -> None:
    completion = {"text": text, "finish_reason": "stop", "usage": USAGE}
    engine.say(Kind.DONE, completion, correlation=call.correlation)


def refuse(engine: ScriptedEngine, call: Envelope, **failure: Any) -> None:
    error = EndpointError(endpoint="http://x", status=429, problem="slow down")
    body = {"error": to_wire(error)} | failure
    engine.say(Kind.DONE, body, correlation=call.correlation, flags=Flag.FAILED)


def error_of(world: EngineWorld, correlation: int) -> LLMOSError:
    return from_wire(world.client.answer(correlation))


def test_a_remote_completion_is_answered_with_the_endpoints_usage(world: EngineWorld) -> None:
    asked = world.generate(world.client, "Hello")
    engine = world.engine()
    (call,) = calls(engine)

    done(engine, call)

    answer = world.client.answer(asked)
    assert (answer["text"], answer["finish_reason"]) == ("Hi!", "stop")
    assert answer["usage"]["prompt_tokens"] == 3
    assert answer["usage"]["cached_tokens"] == 1
    assert decode_plain(call.payload)["input"] == {"prompt": "Hello"}


def test_concurrency_is_limited_over_all_callers() -> None:
    world = remote_world(concurrency=2)
    asked = [world.generate(world.client, f"{n}") for n in range(5)]
    engine = world.engine()
    seen = 0

    waiting = calls(engine)
    while waiting:
        assert len(waiting) <= 2
        seen += len(waiting)
        for call in waiting:
            done(engine, call)
        waiting = calls(engine)

    assert seen == 5
    assert all(world.client.answer(correlation) for correlation in asked)


def test_a_refusal_is_tried_again_when_the_endpoint_says(world: EngineWorld) -> None:
    asked = world.generate(world.client, "Hello")
    engine = world.engine()
    (call,) = calls(engine)
    refuse(engine, call, is_unstarted=True, retry_after_s=7.0)

    world.advance(6)
    assert calls(engine) == []
    world.advance(2)
    (again,) = calls(engine)
    done(engine, again)

    assert world.client.answer(asked)["text"] == "Hi!"


def test_a_failure_that_may_have_generated_is_not_tried_again(world: EngineWorld) -> None:
    asked = world.generate(world.client, "Hello")
    engine = world.engine()
    (call,) = calls(engine)

    refuse(engine, call)
    world.advance(100)

    assert calls(engine) == []
    assert isinstance(error_of(world, asked), EndpointError)


def test_a_refusal_is_not_tried_for_ever(world: EngineWorld) -> None:
    asked = world.generate(world.client, "Hello")
    engine = world.engine()

    for _ in range(20):
        for call in calls(engine):
            refuse(engine, call, is_unstarted=True)
        world.advance(120)

    assert isinstance(error_of(world, asked), EndpointError)


@pytest.mark.parametrize("who", ["engine", "kernel"])
@pytest.mark.parametrize("on_doubt", ["raise", "retry"])
def test_a_call_whose_outcome_nobody_knows_is_in_doubt(who: str, on_doubt: str) -> None:
    world = remote_world()
    asked = world.generate(world.client, "Hello", on_doubt=on_doubt)
    engine = world.engine()
    calls(engine)

    if who == "engine":
        engine.agent.crash()
    else:
        world.kill_kernel()
        world.client.connect()
        engine.agent.connect()
    world.engine().ready(block_size=0)
    again = calls(world.engine())
    for call in again:
        done(world.engine(), call)

    if on_doubt == "retry":
        assert world.client.answer(asked)["text"] == "Hi!"
    else:
        assert isinstance(error_of(world, asked), InDoubtError)
        assert again == []


def test_what_was_not_sent_yet_is_in_no_doubt() -> None:
    world = remote_world(concurrency=1)
    asked = [world.generate(world.client, f"{n}") for n in range(2)]
    engine = world.engine()
    calls(engine)

    engine.agent.crash()
    world.engine().ready(block_size=0)
    for call in calls(world.engine()):
        done(world.engine(), call)

    assert isinstance(error_of(world, asked[0]), InDoubtError)
    assert world.client.answer(asked[1])["text"] == "Hi!"


def test_a_cancelled_call_is_stopped_at_the_engine(world: EngineWorld) -> None:
    asked = world.generate(world.client, "Hello")
    engine = world.engine()
    (call,) = calls(engine)

    world.client.send(Envelope(Kind.CANCEL, world.client.id, correlation=asked))

    assert engine.agent.last(Kind.CANCEL).correlation == call.correlation


def test_pieces_are_shown_and_kept_for_a_retried_turn(world: EngineWorld) -> None:
    asked = world.generate(world.client, "Hello", flags=int(Flag.STREAM))
    engine = world.engine()
    (call,) = calls(engine)
    for text in ("H", "i"):
        engine.say(Kind.PIECE, {"text": text, "tokens": 1}, correlation=call.correlation)
    done(engine, call)

    items = [e for e in world.client.got if e.kind == Kind.ITEM and e.correlation == asked]
    assert [decode_plain(item.payload)["text"] for item in items] == ["H", "i", "!"]


def test_a_chat_with_an_endpoint_sends_the_whole_conversation(world: EngineWorld) -> None:
    session = world.client.system("llm_session")["session"]
    engine = world.engine()
    for text in ("Hi", "More"):
        message = {"messages": [{"role": "user", "content": text}]}
        world.generate(world.client, "", session=session, input=message)
        (call,) = calls(engine)
        done(engine, call, "Yes.")

    contents = [message["content"] for message in decode_plain(call.payload)["input"]["messages"]]
    assert contents == ["Hi", "Yes.", "More"]


@pytest.mark.parametrize("on_doubt", ["raise", "retry"])
def test_a_failure_that_leaves_doubt_is_tried_again_only_on_request(on_doubt: str) -> None:
    world = remote_world(tokens_per_minute=1000)
    asked = world.generate(world.client, "Hello", 400, on_doubt=on_doubt)
    engine = world.engine()
    (call,) = calls(engine)

    refuse(engine, call, is_in_doubt=True)
    world.advance(30)
    again = calls(engine)

    if on_doubt == "raise":
        assert again == []
        assert isinstance(error_of(world, asked), InDoubtError)
        return
    refuse(engine, again[0], is_in_doubt=True)
    world.advance(25)
    assert calls(engine) == []  # what the first two may have taken is still booked
    world.advance(35)
    (third,) = calls(engine)
    done(engine, third)
    assert world.client.answer(asked)["text"] == "Hi!"


def test_doubt_is_not_retried_for_ever(world: EngineWorld) -> None:
    asked = world.generate(world.client, "Hello", on_doubt="retry")
    engine = world.engine()

    for _ in range(20):
        for call in calls(engine):
            refuse(engine, call, is_in_doubt=True)
        world.advance(120)

    assert isinstance(error_of(world, asked), InDoubtError)


@pytest.mark.parametrize("end", ["failure", "crash"])
def test_what_was_shown_of_a_stream_is_not_said_anew(world: EngineWorld, end: str) -> None:
    asked = world.generate(world.client, "Hello", on_doubt="retry", flags=int(Flag.STREAM))
    engine = world.engine()
    (call,) = calls(engine)
    engine.say(Kind.PIECE, {"text": "H", "tokens": 0}, correlation=call.correlation)

    if end == "failure":
        refuse(engine, call, is_in_doubt=True)
    else:
        engine.agent.crash()
        engine = world.engine()
        engine.ready(block_size=0)
    world.advance(120)

    assert calls(engine) == []
    assert isinstance(error_of(world, asked), InDoubtError)


def test_an_endpoint_that_does_not_say_its_usage_counts_as_all_that_was_reserved() -> None:
    world = remote_world(tokens_per_minute=1000)
    asked = world.generate(world.client, "Hello", 900)
    engine = world.engine()
    (call,) = calls(engine)

    engine.say(Kind.DONE, {"text": "Hi!", "finish_reason": "stop"}, correlation=call.correlation)

    assert world.client.answer(asked)["usage"]["completion_tokens"] == 0
    world.generate(world.client, "Hello", 900)
    assert calls(engine) == []
    world.advance(61)
    assert len(calls(engine)) == 1


def test_tokens_of_a_remote_model_cannot_be_counted() -> None:
    world = EngineWorld()
    world.client.system("model_add", spec={"name": "far", "endpoint": "http://127.0.0.1:1/v1"})

    asked = world.client.ask_system("llm_count", model="far", input={"prompt": "Hello"})

    assert type(error_of(world, asked)) is UsageError


def test_a_session_with_a_remote_model_takes_messages_and_no_text() -> None:
    world = EngineWorld()
    world.client.system("model_add", spec={"name": "m", "endpoint": "http://127.0.0.1:1/v1"})
    session = world.client.system("llm_session", model="m")["session"]
    message = {"messages": [{"role": "user", "content": "Hi"}]}

    text = world.client.ask_system("llm_append", session=session, input={"prompt": "Hi"})
    chat = world.client.ask_system("llm_append", session=session, input=message)
    engine = world.engine()
    engine.ready(block_size=0)
    calls(engine)

    assert isinstance(error_of(world, text), BadPromptError)
    assert world.client.answer(chat)["session"] == session


def restart(world: EngineWorld) -> None:
    """SIGKILL the kernel; its peers come to the next one."""
    engine = world.engine()
    world.kill_kernel()
    world.client.connect()
    engine.agent.connect()
    world.engine().ready(block_size=0)


def test_a_restarted_kernel_keeps_to_the_minute_that_has_begun() -> None:
    world = remote_world(requests_per_minute=2)
    for number in range(4):
        world.generate(world.client, f"{number}")
    sent = calls(world.engine())
    for call in sent:
        done(world.engine(), call)

    world.advance(20)
    restart(world)
    early = calls(world.engine())
    world.advance(38)
    early += calls(world.engine())
    world.advance(4)

    assert (len(sent), early) == (2, [])
    assert len(calls(world.engine())) == 2


def test_what_a_dead_kernel_had_sent_counts_as_all_that_it_may_have_taken() -> None:
    world = remote_world(tokens_per_minute=500)
    world.generate(world.client, "Hello", 400)
    assert len(calls(world.engine())) == 1

    restart(world)  # the call is in doubt
    world.generate(world.client, "Hello", 400)
    early = calls(world.engine())
    world.advance(59)
    early += calls(world.engine())
    world.advance(2)

    assert early == []
    assert len(calls(world.engine())) == 1


@pytest.mark.parametrize(
    ("change", "flags"),
    [
        ({"text": 5}, 0),
        ({"usage": {"prompt_tokens": 1 << 40, "completion_tokens": 1}}, 0),
        ({"usage": {"prompt_tokens": float("inf"), "completion_tokens": 1}}, 0),
        ({"usage": {"prompt_tokens": 3}}, 0),
        ({"tool_calls": 5}, 0),
        ({"error": 5}, int(Flag.FAILED)),
        ({"error": {"code": "x"}}, int(Flag.FAILED)),
    ],
)
def test_a_driver_whose_answer_cannot_be_read_is_replaced_and_its_caller_told(
    world: EngineWorld, change: dict[str, Any], flags: int
) -> None:
    """Nobody can say whether the endpoint has computed it: it is in doubt, not left open."""
    asked = world.generate(world.client, "Hello")
    engine = world.engine()
    (call,) = calls(engine)
    good = {"text": "Hi!", "finish_reason": "stop", "usage": USAGE}

    engine.say(Kind.DONE, good | change, correlation=call.correlation, flags=flags)
    world.advance(1)
    assert world.engine() is not engine
    world.engine().ready(block_size=0)
    calls(world.engine())

    assert isinstance(error_of(world, asked), InDoubtError)


def test_a_piece_that_cannot_be_counted_does_not_end_the_kernel(world: EngineWorld) -> None:
    asked = world.generate(world.client, "Hello", flags=int(Flag.STREAM))
    engine = world.engine()
    (call,) = calls(engine)

    engine.say(Kind.PIECE, {"text": "a", "tokens": float("inf")}, correlation=call.correlation)
    world.advance(1)
    assert world.engine() is not engine
    world.engine().ready(block_size=0)
    calls(world.engine())

    assert isinstance(error_of(world, asked), InDoubtError)
