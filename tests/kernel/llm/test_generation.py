"""kernel/llm/service.py on a scripted engine: what a caller gets, whatever dies on the way."""

from typing import Any

import pytest

from ext.wire import Envelope
from ipc.errors import (
    AskTimeoutError,
    BadModelError,
    BadPromptError,
    EngineDownError,
    LlmQueueFullError,
    PromptTooLongError,
    UnknownCallError,
    UnknownModelError,
    from_wire,
)
from ipc.plain import decode_plain
from ipc.protocol import Flag, Kind
from tests.kernel.llm.engine_world import EngineWorld, completion_of
from tests.kernel.world import body

STREAM = int(Flag.STREAM)


@pytest.fixture
def world() -> EngineWorld:
    world = EngineWorld()
    world.add_model()
    return world


def pieces(world: EngineWorld, correlation: int) -> str:
    """Return the text shown; a new kernel sends items again, under their numbers."""
    items: dict[int, bytes] = {}
    for envelope in world.client.got:
        if envelope.kind == Kind.ITEM and envelope.correlation == correlation:
            assert items.setdefault(envelope.index, envelope.payload) == envelope.payload
    assert list(items) == list(range(len(items)))
    return "".join(decode_plain(payload)["text"] for payload in items.values())


def error_of(world: EngineWorld, correlation: int) -> Exception:
    return from_wire(world.client.answer(correlation))


def test_the_first_request_starts_an_engine_and_is_answered(world: EngineWorld) -> None:
    asked = world.generate(world.client, "Hello", 7)
    world.engine().ready()

    world.engine().run()

    answer = world.client.answer(asked)
    assert answer["text"] == completion_of(b"Hello", 7)
    assert answer["finish_reason"] == "length"
    assert answer["usage"]["prompt_tokens"] == 5
    assert answer["usage"]["completion_tokens"] == 7
    assert (answer["usage"]["model"], answer["usage"]["version"]) == ("m", 1)


def test_requests_run_together_and_each_gets_its_own(world: EngineWorld) -> None:
    asked = {f"prompt {n}": world.generate(world.client, f"prompt {n}", 3 + n) for n in range(20)}
    world.engine().ready()

    world.engine().run()

    for number, (prompt, correlation) in enumerate(asked.items()):
        expected = completion_of(prompt.encode(), 3 + number)
        assert world.client.answer(correlation)["text"] == expected


def test_a_streamed_completion_is_shown_as_it_comes(world: EngineWorld) -> None:
    asked = world.generate(world.client, "Hi", 6, flags=STREAM)
    engine = world.engine()
    engine.ready()

    for _ in range(3):
        engine.step()
    early = pieces(world, asked)
    engine.run()

    whole = completion_of(b"Hi", 6)
    assert "" < early < whole
    assert whole.startswith(early)
    assert pieces(world, asked) == whole
    assert world.client.answer(asked)["text"] == whole


@pytest.mark.parametrize("flags", [0, STREAM])
@pytest.mark.parametrize("steps", [0, 1, 2, 5, 20])
def test_an_engine_that_dies_is_replaced_and_the_request_goes_on(
    world: EngineWorld, steps: int, flags: int
) -> None:
    asked = world.generate(world.client, "Hello there", 30, flags=flags)
    world.engine().ready()
    for _ in range(steps):
        world.engine().step()

    world.engine().agent.crash()
    world.engine().ready()
    world.engine().run()

    assert world.client.answer(asked)["text"] == completion_of(b"Hello there", 30)
    if flags:
        assert pieces(world, asked) == completion_of(b"Hello there", 30)


@pytest.mark.parametrize("flags", [0, STREAM])
@pytest.mark.parametrize("steps", [0, 1, 3, 40, 70])
def test_a_request_goes_on_in_the_next_kernel(world: EngineWorld, steps: int, flags: int) -> None:
    asked = world.generate(world.client, "Hello there", 80, flags=flags)
    engine = world.engine()
    engine.ready()
    for _ in range(steps):
        engine.step()

    world.kill_kernel()
    world.client.connect()
    engine.agent.connect()
    engine.ready()
    engine.run()

    assert world.client.answer(asked)["text"] == completion_of(b"Hello there", 80)
    if flags:
        assert pieces(world, asked) == completion_of(b"Hello there", 80)


def test_after_a_kernel_crash_few_tokens_are_computed_again(world: EngineWorld) -> None:
    world.generate(world.client, "Hello there", 200)
    engine = world.engine()
    engine.ready()
    for _ in range(150):
        engine.step()
    world.kill_kernel()
    world.client.connect()
    engine.agent.connect()
    engine.ready()

    engine.run()

    again = decode_plain(engine.agent.last(Kind.PLAN).payload)
    assert again["plan"] <= 200 - 150 + 64 + 4


def test_nothing_is_left_of_a_request_that_has_ended(world: EngineWorld) -> None:
    world.generate(world.client, "Hello", 100, flags=STREAM)
    world.generate(world.client, "Hello", 100)
    world.engine().ready()

    world.engine().run()
    world.client.acknowledge()

    rows = world.journal.load()
    kinds = ("llm_request", "llm_tokens", "llm_step", "llm_stream", "message", "answer", "item")
    assert {kind: rows[kind] for kind in kinds if rows[kind]} == {}
    (line,) = world.client.system("llm_status")["engines"]
    assert (line["running"], line["waiting"], line["blocks_used"]) == (0, 0, 0)


def test_a_cancelled_request_is_planned_no_more(world: EngineWorld) -> None:
    asked = world.generate(world.client, "Hello", 100)
    engine = world.engine()
    engine.ready()
    for _ in range(5):
        engine.step()

    world.client.send(Envelope(Kind.CANCEL, world.client.id, correlation=asked))
    engine.listen()
    planned = len(engine.plans)
    engine.run()

    assert planned <= 2
    assert world.client.answer(asked) is None
    assert world.client.system("llm_status")["engines"][0]["blocks_used"] == 0


def test_a_request_whose_deadline_passes_ends_and_frees_its_blocks(world: EngineWorld) -> None:
    asked = world.generate(world.client, "Hello", 100, deadline=2_000_000_000)
    engine = world.engine()
    engine.ready()
    engine.step()

    world.advance(3)
    engine.run()

    assert isinstance(error_of(world, asked), AskTimeoutError)
    assert world.client.system("llm_status")["engines"][0]["blocks_used"] == 0


def test_a_deadline_outlives_the_kernel(world: EngineWorld) -> None:
    asked = world.generate(world.client, "Hello", 100, deadline=2_000_000_000)
    world.kill_kernel()
    world.client.connect()

    world.advance(3)

    assert isinstance(error_of(world, asked), AskTimeoutError)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"model": "nobody"}, UnknownModelError),
        ({"input": {"prompt": ""}}, BadPromptError),
        ({"input": {"prompt": "refused"}}, BadPromptError),
        ({"input": {"prompt": "x" * 600}}, PromptTooLongError),
    ],
)
def test_what_cannot_be_computed_is_refused_to_its_caller_alone(
    world: EngineWorld, arguments: dict[str, Any], error: type[Exception]
) -> None:
    fine = world.generate(world.client, "Hello", 5)
    correlation = world.client.next_correlation()
    payload = body("llm_generate", **({"input": {"prompt": "Hi"}} | arguments))
    world.client.send(Envelope(Kind.ASK, world.client.id, 0, payload, correlation=correlation))
    world.engine().ready()

    world.engine().run()

    assert isinstance(error_of(world, correlation), error)
    assert world.client.answer(fine)["text"] == completion_of(b"Hello", 5)


def test_too_many_requests_are_refused() -> None:
    world = EngineWorld(llm_waiting=2)
    world.add_model()
    asked = [world.generate(world.client, "Hello") for _ in range(3)]

    assert isinstance(error_of(world, asked[2]), LlmQueueFullError)


@pytest.mark.parametrize(
    "facts",
    [
        # No address space holds these tables.
        {"max_context": 1 << 29, "max_running": 1 << 23, "max_step_tokens": 1 << 23},
        {"num_blocks": (1 << 30) + 1},
        {"max_context": 1 << 30},
    ],
    ids=["tables", "blocks", "context"],
)
def test_an_engine_too_large_to_keep_account_of_is_refused_and_the_kernel_goes_on(
    world: EngineWorld, facts: dict[str, int]
) -> None:
    asked = world.generate(world.client, "Hello", 5)

    world.engine().ready(**{"num_blocks": 1 << 29, **facts})

    error = error_of(world, asked)
    assert isinstance(error, BadModelError)
    assert "--max-context" in str(error)
    assert world.core.state.names.find("engine.m.1") is None  # no other kernel adopts it
    (line,) = [m for m in world.client.system("models") if m["name"] == "m"]
    assert line["state"] == "failed"


def test_a_model_that_cannot_be_loaded_is_told_to_those_who_wait(world: EngineWorld) -> None:
    asked = world.generate(world.client, "Hello")
    refused = BadPromptError(problem="stands for: no config.json")
    wire = {"code": refused.code, "fields": refused.fields}

    world.engine().say(Kind.ENGINE, {"state": "failed", "error": wire})

    assert isinstance(error_of(world, asked), BadPromptError)
    (line,) = [m for m in world.client.system("models") if m["name"] == "m"]
    assert line["state"] == "failed"
    assert world.core.state.names.find("engine.m.1") is None


def test_an_engine_that_crashes_too_often_fails_its_requests(world: EngineWorld) -> None:
    asked = world.generate(world.client, "Hello")

    for _ in range(7):
        if world.client.answer(asked) is None:
            world.engine().ready()
            world.engine().step()
            world.engine().agent.crash()
            world.advance(1)

    assert isinstance(error_of(world, asked), EngineDownError)


def test_an_engine_that_breaks_the_protocol_is_replaced(world: EngineWorld) -> None:
    asked = world.generate(world.client, "Hello", 9)
    engine = world.engine()
    engine.ready()
    engine.listen()

    engine.say(Kind.REPORT, {"plan": 77, "tokens": b""})
    world.advance(1)
    world.engine().ready()
    world.engine().run()

    assert world.engine() is not engine
    assert world.client.answer(asked)["text"] == completion_of(b"Hello", 9)


@pytest.mark.parametrize("model", [5, True, [], {}, float("inf"), b"m"])
@pytest.mark.parametrize("call", ["llm_session", "llm_count", "llm_generate"])
def test_a_model_whose_name_is_no_text_is_refused_and_the_kernel_goes_on(
    world: EngineWorld, call: str, model: Any
) -> None:
    arguments = {} if call == "llm_session" else {"input": {"prompt": "Hello"}}

    asked = world.client.ask_system(call, model=model, **arguments)

    assert isinstance(error_of(world, asked), (UnknownModelError, UnknownCallError))
    assert world.client.system("models")


@pytest.mark.parametrize("answer", [{"ids": b"abc"}, {"ids": 5}, 5, {"code": 1 << 63}, []])
@pytest.mark.parametrize("flags", [0, int(Flag.FAILED)])
def test_a_prompt_that_comes_back_unreadable_leaves_nobody_waiting(
    world: EngineWorld, answer: Any, flags: int
) -> None:
    asked = world.generate(world.client, "Hello", 9)
    engine = world.engine()
    engine.ready()
    (prepare,) = [envelope for envelope in engine.news() if envelope.kind == Kind.PREPARE]

    engine.say(Kind.PREPARED, answer, correlation=prepare.correlation, flags=flags)
    world.advance(1)
    if world.engine() is not engine:
        world.engine().ready()
        world.engine().run()

    assert world.client.answer(asked) is not None


def test_two_engines_share_a_model() -> None:
    world = EngineWorld()
    world.add_model(engines=2)
    asked = [world.generate(world.client, f"prompt {n}", 4) for n in range(10)]
    first, second = world.engine("engine.m.1.1"), world.engine("engine.m.1.2")
    first.ready()
    second.ready()
    more = [world.generate(world.client, f"later {n}", 4) for n in range(10)]

    first.run()
    second.run()
    first.run()

    assert all(world.client.answer(correlation) for correlation in asked + more)
    assert min(first.computed_tokens, second.computed_tokens) > 0


def test_the_recorded_completion_is_what_a_retried_turn_gets(world: EngineWorld) -> None:
    agent = world.spawn("agent")
    world.client.ask(agent.id, "work")
    arguments = {"input": {"prompt": "Hello"}, "sampling": {"max_tokens": 4}}
    agent.system(agent.turn_of("work"), "llm_generate", **arguments)
    world.engine().ready()
    world.engine().run()
    computed = world.engine().computed_tokens

    agent.crash()
    again = world.agent(agent.id)
    correlation = again.system(again.turn_of("work"), "llm_generate", **arguments)
    world.engine().run()

    assert again.answer(correlation)["text"] == completion_of(b"Hello", 4)
    assert world.engine().computed_tokens == computed


def test_a_crash_of_the_asking_agent_stops_nothing(world: EngineWorld) -> None:
    agent = world.spawn("agent")
    world.client.ask(agent.id, "work")
    arguments = {"input": {"prompt": "Hello"}, "sampling": {"max_tokens": 20}}
    agent.system(agent.turn_of("work"), "llm_generate", **arguments)
    world.engine().ready()
    for _ in range(5):
        world.engine().step()

    agent.crash()
    again = world.agent(agent.id)
    correlation = again.system(again.turn_of("work"), "llm_generate", **arguments)
    world.engine().run()

    assert again.answer(correlation)["text"] == completion_of(b"Hello", 20)
    assert world.engine().computed_tokens <= 5 + 20


def test_termination_of_the_asking_agent_stops_its_requests(world: EngineWorld) -> None:
    agent = world.spawn("agent")
    world.client.ask(agent.id, "work")
    arguments = {"input": {"prompt": "Hello"}, "sampling": {"max_tokens": 100}}
    agent.system(agent.turn_of("work"), "llm_generate", **arguments)
    world.engine().ready()
    world.engine().step()

    world.client.system("kill", actor="agent")
    world.engine().run()

    status = world.client.system("llm_status")
    assert status["owners"] == []
    assert status["engines"][0]["blocks_used"] == 0


def end_by_quota(world: EngineWorld, flags: int) -> tuple[int, int]:
    """Let a request run into its owner's quota; return its correlation and its tokens."""
    asked = world.generate(world.client, "Hello", 100, flags=flags)
    engine = world.engine()
    engine.ready()
    engine.step()
    engine.step()
    (known,) = world.core.llm.engines
    known.scheduler.set_quota(world.client.id, 3)
    (job,) = world.core.llm.generation.jobs.values()
    while job.end_reason is None:
        assert engine.step()
    return asked, job.request.num_emitted


@pytest.mark.parametrize("flags", [0, STREAM])
def test_a_completion_that_ends_at_its_quota_has_the_text_of_its_tokens(
    world: EngineWorld, flags: int
) -> None:
    asked, emitted = end_by_quota(world, flags)
    world.engine().run()

    answer = world.client.answer(asked)
    assert emitted == 8  # three blocks hold the prompt and all of these but the last
    assert (answer["text"], answer["finish_reason"]) == (completion_of(b"Hello", emitted), "quota")
    assert answer["usage"]["completion_tokens"] == emitted
    assert pieces(world, asked) == (answer["text"] if flags else "")


def test_an_engine_that_dies_before_it_has_spelt_a_completion_is_replaced(
    world: EngineWorld,
) -> None:
    asked, emitted = end_by_quota(world, 0)

    world.engine().agent.crash()
    world.engine().ready()
    world.engine().run()

    answer = world.client.answer(asked)
    assert (answer["text"], answer["finish_reason"]) == (completion_of(b"Hello", emitted), "quota")
    assert world.engine().computed_tokens == 0


def test_a_driver_that_cannot_spell_ends_a_completion_with_what_was_shown(
    world: EngineWorld,
) -> None:
    asked, emitted = end_by_quota(world, STREAM)
    engine = world.engine()
    (call,) = [envelope for envelope in engine.news() if envelope.kind == Kind.PREPARE]

    error = BadPromptError(problem="text to tokens only")
    refusal = {"code": error.code, "fields": error.fields}
    engine.say(Kind.PREPARED, refusal, correlation=call.correlation, flags=Flag.FAILED)

    answer = world.client.answer(asked)
    assert answer["text"] == pieces(world, asked) == completion_of(b"Hello", emitted)
