"""Agents and language models on the real kernel core, in memory, with a scripted engine.

The promises of SEMANTICS.md for LLM calls: recorded once, told once, stopped with their asker.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from actors import (
    Actor,
    ActorRef,
    BadPromptError,
    PromptTooLongError,
    RemoteError,
    SchemaError,
    UnknownModelError,
    UnknownSessionError,
    receive,
)
from actors.llm.completion import Completion
from actors.scripted_model import ScriptedReply, ScriptedRequest
from actors.testing import TestKernel

WORDS = "one two three four five six seven eight nine ten"


@pytest.fixture
def kernel() -> Iterator[TestKernel]:
    with TestKernel() as running:
        running.llm.reply(WORDS)
        yield running


@dataclass
class Team:
    name: str
    urgent: bool


class Triage(Actor):
    """One handler for each thing an agent does with a model."""

    @receive
    async def label(self, text: str) -> str:
        return (await self.llm.complete(f"Ticket: {text}\nTeam:", stop="\n")).text

    @receive
    async def label_and_rest(self, text: str) -> str:
        label = (await self.llm.complete(text)).text
        await asyncio.sleep(10)
        return label

    @receive
    async def two(self) -> list[str]:
        first = await self.llm.complete("first")
        await asyncio.sleep(10)
        second = await self.llm.complete("second")
        return [first.text, second.text]

    @receive
    def blocking(self, text: str) -> list[Any]:
        with_hints = self.llm.chat(text, schema=Team).result().parsed
        session = self.llm.session().result()
        whole = session.generate("begin").result().text
        pieces = list(self.llm.stream(text))
        session.close().result()
        return [with_hints, whole, pieces]

    @receive
    async def pieces(self, text: str) -> AsyncIterator[str]:
        async for piece in self.llm.stream(text):
            yield piece

    @receive
    async def team(self, text: str) -> Team:
        return (await self.llm.chat(text, schema=Team)).parsed

    @receive
    async def weather(self, question: str) -> str:
        messages: list[dict[str, Any]] = [{"role": "user", "content": question}]
        asked = await self.llm.chat(messages, tools=[forecast])
        messages.append(asked.message)
        messages += [call.answer(forecast(**call.arguments)) for call in asked.tool_calls]
        return (await self.llm.chat(messages, tools=[forecast])).text

    @receive
    async def branch(self, context: str, count: int) -> list[Completion[Any]]:
        async with self.llm.session() as session:
            await session.append(context)
            forks = await session.fork(count)
            return await asyncio.gather(
                *(fork.generate(f" branch {number}") for number, fork in enumerate(forks))
            )

    @receive
    async def begin(self, text: str) -> int:
        session = await self.llm.session()
        await session.append([{"role": "user", "content": text}])
        self.state["talk"] = session.id
        return session.id

    @receive
    async def go_on(self, text: str) -> str:
        return (await self.llm.attach(self.state["talk"]).chat(text)).text

    @receive
    async def begin_and_fail(self) -> None:
        self.opened = (await self.llm.session()).id
        raise ValueError("this turn never commits")

    @receive
    async def what_was_opened(self) -> str:
        return (await self.llm.attach(self.opened).generate("still?")).text


def forecast(city: str) -> str:
    """Tell tomorrow's weather."""
    return f"sun in {city}"


@pytest.fixture
def triage(kernel: TestKernel) -> ActorRef[Triage]:
    return kernel.spawn(Triage, name="triage")


def begin(kernel: TestKernel, call: Any) -> asyncio.Task[Any]:
    """Make a call without waiting for its answer."""

    async def outcome() -> Any:
        return await call

    task = kernel.loop.create_task(outcome())
    kernel.run_until_idle()
    return task


def busy(kernel: TestKernel) -> int:
    """Return how many requests the engines have."""
    engines = kernel.system("llm_status")["engines"]
    return sum(engine["running"] + engine["waiting"] for engine in engines)


# --- what comes back ----------------------------------------------------------------------


def test_a_test_says_what_the_model_answers(kernel: TestKernel, triage: ActorRef[Triage]) -> None:
    kernel.llm.reply("billing", "refund")

    labels = [kernel.ask(triage.label("my bill")) for _ in range(3)]

    assert labels == ["billing", "refund", "refund"]
    assert kernel.llm.requests[0].prompt == "Ticket: my bill\nTeam:"
    assert kernel.llm.requests[0].sampling["stop"] == ["\n"]


def test_an_answer_can_be_computed_or_fail(kernel: TestKernel, triage: ActorRef[Triage]) -> None:
    def answer(request: ScriptedRequest) -> str:
        if "broken" in request.prompt:
            raise ValueError("no answer to that")
        return request.prompt.upper()

    kernel.llm.reply_with(answer)

    assert kernel.ask(triage.label("x")) == "TICKET: X"  # it stops at the line's end
    with pytest.raises(RemoteError, match="no answer to that"):
        kernel.ask(triage.label("broken"))


def test_a_model_without_an_answer_says_how_to_give_one() -> None:
    with TestKernel() as kernel:
        triage = kernel.spawn(Triage)

        with pytest.raises(Exception, match=r"kernel\.llm\.reply"):
            kernel.ask(triage.label("x"))


def test_a_text_ends_by_its_stop_string_or_by_its_length(kernel: TestKernel) -> None:
    llm = kernel.client.llm

    stopped = kernel.ask(llm.complete("x", stop=" four"))
    cut = kernel.ask(llm.complete("x", max_tokens=2, logprobs=0))

    assert (stopped.text, stopped.finish_reason) == ("one two three", "stop")
    assert (cut.text, cut.finish_reason, len(cut.ids)) == ("one two", "length", 2)
    assert cut.usage.completion_tokens == 2
    assert cut.logprobs is not None
    assert [token.id for token in cut.logprobs] == cut.ids


def test_structured_output_is_parsed(kernel: TestKernel, triage: ActorRef[Triage]) -> None:
    kernel.llm.reply('{"name": "billing", "urgent": true}', "not JSON at all")

    assert kernel.ask(triage.team("x")) == Team("billing", urgent=True)
    assert "urgent" in kernel.llm.requests[0].sampling["schema"]["properties"]
    with pytest.raises(SchemaError, match="not JSON"):
        kernel.ask(triage.team("x"))


def test_tools_are_called_by_the_agent_and_answered(
    kernel: TestKernel, triage: ActorRef[Triage]
) -> None:
    call = {"name": "forecast", "arguments": {"city": "Rome"}}
    replies = iter([ScriptedReply(tool_calls=[call]), "take a hat"])
    kernel.llm.reply_with(lambda _: next(replies))

    assert kernel.ask(triage.weather("Rome?")) == "take a hat"
    _, second = kernel.llm.requests
    assert [message["role"] for message in second.messages] == ["user", "assistant", "tool"]
    assert second.messages[-1]["content"] == "sun in Rome"
    assert second.tools[0]["function"]["name"] == "forecast"


def test_a_blocking_handler_does_all_of_it(kernel: TestKernel, triage: ActorRef[Triage]) -> None:
    kernel.llm.reply('{"name": "a", "urgent": false}', "b", "c d")

    answer = kernel.ask(triage.blocking("x"))

    assert answer == [{"name": "a", "urgent": False}, "b", ["c", " d"]]


def test_tokens_are_counted_without_computing(kernel: TestKernel) -> None:
    assert kernel.ask(kernel.client.llm.count_tokens("one two")) == 2
    assert kernel.llm.requests == []


def test_bad_input_is_a_typed_error(kernel: TestKernel) -> None:
    llm = kernel.client.llm

    with pytest.raises(UnknownModelError, match="nosuch"):
        kernel.ask(llm.complete("x", model="nosuch"))
    with pytest.raises(PromptTooLongError):
        kernel.ask(llm.complete("word " * 9000))
    with pytest.raises(UnknownSessionError):
        kernel.ask(llm.attach(99).generate("x"))


# --- streams ------------------------------------------------------------------------------


def test_pieces_come_in_order_and_join_to_the_text(
    kernel: TestKernel, triage: ActorRef[Triage]
) -> None:
    pieces = kernel.items(triage.pieces("x"))

    assert pieces[:2] == ["one", " two"]
    assert "".join(pieces) == WORDS


def test_leaving_a_stream_stops_the_computation(kernel: TestKernel) -> None:
    kernel.llm.step_s = 0.1

    async def read_two() -> list[str]:
        async with kernel.client.llm.stream("x") as stream:
            return [await anext(stream), await anext(stream)]

    assert kernel.run(read_two()) == ["one", " two"]
    kernel.advance(0.5)
    assert busy(kernel) == 0
    assert kernel.llm.num_tokens <= 4


@pytest.mark.parametrize("killed", ["engine", "kernel", "agent"])
def test_a_stream_goes_on_where_it_was_whoever_is_killed(
    kernel: TestKernel, triage: ActorRef[Triage], killed: str
) -> None:
    kernel.llm.step_s = 0.1
    items: list[str] = []

    async def read() -> None:
        items.extend([piece async for piece in triage.pieces("x")])

    task = kernel.loop.create_task(read())
    kernel.advance(0.55)
    if killed == "kernel":
        kernel.restart_kernel()
    else:
        name = "engine.embedded.1" if killed == "engine" else "triage"
        kernel.crash(kernel.lookup(name))
    kernel.advance(60)

    assert task.done()
    task.result()
    assert items == ["one", *(f" {word}" for word in WORDS.split()[1:])]
    assert len(kernel.llm.requests) == 1


# --- crashes ------------------------------------------------------------------------------


def test_a_retried_turn_gets_the_recorded_completion(
    kernel: TestKernel, triage: ActorRef[Triage]
) -> None:
    task = begin(kernel, triage.label_and_rest("x"))
    kernel.advance(5)  # the completion is there, the turn is not over
    assert kernel.llm.num_tokens == 10

    kernel.crash(triage)
    kernel.advance(60)

    assert task.result() == WORDS
    assert len(kernel.llm.requests) == 1
    assert kernel.llm.num_tokens == 10


def test_a_crash_cancels_no_completion_and_the_retried_turn_finds_it(
    kernel: TestKernel, triage: ActorRef[Triage]
) -> None:
    kernel.llm.step_s = 0.1
    task = begin(kernel, triage.label("x"))
    kernel.advance(0.45)
    assert 0 < kernel.llm.num_tokens < 10

    kernel.crash(triage)
    kernel.advance(60)

    assert task.result() == WORDS
    assert kernel.llm.num_tokens == 10


def test_only_what_was_not_recorded_is_computed_after_a_crash(
    kernel: TestKernel, triage: ActorRef[Triage]
) -> None:
    task = begin(kernel, triage.two())
    kernel.advance(5)
    kernel.crash(triage)
    kernel.advance(60)

    assert task.result() == [WORDS, WORDS]
    assert [request.prompt for request in kernel.llm.requests] == ["first", "second"]


@pytest.mark.parametrize("killed", ["engine", "kernel"])
def test_an_accepted_request_is_finished_after_engine_or_kernel_are_killed(
    kernel: TestKernel, triage: ActorRef[Triage], killed: str
) -> None:
    kernel.llm.step_s = 0.1
    task = begin(kernel, triage.label("x"))
    kernel.advance(0.45)

    if killed == "kernel":
        kernel.restart_kernel()
    else:
        kernel.crash(kernel.lookup("engine.embedded.1"))
    kernel.advance(60)

    assert task.result() == WORDS
    assert len(kernel.llm.requests) == 1
    assert busy(kernel) == 0


def test_termination_of_the_asker_stops_its_completion(
    kernel: TestKernel, triage: ActorRef[Triage]
) -> None:
    kernel.llm.step_s = 0.1
    begin(kernel, triage.tell.label("x"))
    kernel.advance(0.45)
    assert busy(kernel) == 1

    kernel.system("kill", actor="triage")
    computed = kernel.llm.num_tokens
    kernel.advance(5)

    assert busy(kernel) == 0
    assert kernel.llm.num_tokens <= computed + 2  # the running step, and the one already sent
    (engine,) = kernel.system("llm_status")["engines"]
    assert engine["blocks_used"] == 0


def test_a_cancelled_ask_stops_the_completion_below_it(
    kernel: TestKernel, triage: ActorRef[Triage]
) -> None:
    kernel.llm.step_s = 0.1
    task = begin(kernel, triage.label("x"))
    kernel.advance(0.45)

    task.cancel()
    kernel.advance(5)

    assert busy(kernel) == 0
    assert kernel.llm.num_tokens < 10


def test_a_deadline_travels_down_to_the_completion(
    kernel: TestKernel, triage: ActorRef[Triage]
) -> None:
    kernel.llm.step_s = 0.1

    with pytest.raises(TimeoutError):
        kernel.ask(triage.options(deadline=0.5).label("x"))
    kernel.advance(5)

    assert busy(kernel) == 0
    assert kernel.llm.num_tokens < 10


# --- sessions -----------------------------------------------------------------------------


def test_forks_share_what_their_parent_has_read(
    kernel: TestKernel, triage: ActorRef[Triage]
) -> None:
    kernel.llm.reply_with(lambda request: request.prompt.rpartition(" ")[2])
    context = " ".join(["word"] * 800)

    results = kernel.ask(triage.branch(context, 4))

    assert [result.text for result in results] == ["0", "1", "2", "3"]
    read = sum(result.usage.prompt_tokens - result.usage.cached_tokens for result in results)
    assert read < 1.2 * 800  # the context once, and a little for each branch


def test_a_session_is_taken_up_again_from_the_state(
    kernel: TestKernel, triage: ActorRef[Triage]
) -> None:
    kernel.llm.reply("hi", "fine")
    kernel.ask(triage.begin("hello"))
    kernel.crash(triage)
    kernel.restart_kernel()

    assert kernel.ask(triage.go_on("how are you?")) == "hi"
    assert kernel.ask(triage.go_on("really?")) == "fine"

    said = [message["content"] for message in kernel.llm.requests[1].messages]
    assert said == ["hello", "how are you?", "hi", "really?"]


def test_a_session_ends_with_its_owner(kernel: TestKernel, triage: ActorRef[Triage]) -> None:
    kernel.ask(triage.begin("hello"))
    assert sum(model["sessions"] for model in kernel.system("models")) == 1

    kernel.system("kill", actor="triage")

    assert sum(model["sessions"] for model in kernel.system("models")) == 0


def test_a_session_of_a_turn_that_never_commits_is_closed(
    kernel: TestKernel, triage: ActorRef[Triage]
) -> None:
    with pytest.raises(RemoteError):
        kernel.ask(triage.begin_and_fail())

    with pytest.raises(UnknownSessionError):
        kernel.ask(triage.what_was_opened())


def test_text_and_chat_are_not_mixed_in_one_session(kernel: TestKernel) -> None:
    async def mix() -> None:
        async with kernel.client.llm.session() as session:
            await session.append("text")
            await session.chat("hello")

    with pytest.raises(BadPromptError, match="holds text"):
        kernel.run(mix())
    assert sum(model["sessions"] for model in kernel.system("models")) == 0
