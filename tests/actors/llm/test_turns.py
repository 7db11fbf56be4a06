"""LLM calls inside turns, against a scripted kernel: what leaves, and what comes of answers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from actors import Actor, receive
from actors.bodies import encode, fill, read
from actors.llm.completion import Completion
from ext.wire import Envelope
from ipc.errors import PromptTooLongError, SamplingError, from_wire
from ipc.plain import decode_plain
from ipc.protocol import KERNEL_ID, Flag, Kind
from tests.actors.conftest import Script
from tests.actors.llm.wire import completion, session
from tests.actors.scripted import ScriptedKernel, kinds


class Agent(Actor):
    """One handler for each way to use a model."""

    @receive
    async def label(self, text: str) -> str:
        result = await self.llm.complete(text, max_tokens=8, stop="\n")
        return str(result)

    @receive
    async def in_a_hurry(self, text: str) -> str:
        return str(await self.llm.complete(text, priority=0, deadline=2.0))

    @receive
    async def hot(self, text: str) -> str:
        return str(await self.llm.complete(text, top_k=3))

    @receive
    async def both(self) -> list[str]:
        first, second = await asyncio.gather(
            self.llm.complete("a"), self.llm.chat("b", model="large")
        )
        return [first.text, second.text]

    @receive
    async def twice(self) -> list[str]:
        return [(await self.llm.complete("a")).text for _ in range(2)]

    @receive
    def in_a_thread(self, text: str) -> str:
        return self.llm.complete(text).result().text

    @receive
    async def read(self, prompt: str) -> dict[str, Any]:
        stream = self.llm.stream(prompt)
        pieces = [piece async for piece in stream]
        return {"pieces": pieces, "text": stream.text, "reason": stream.completion.finish_reason}

    @receive
    def read_in_a_thread(self, prompt: str) -> list[str]:
        return list(self.llm.stream(prompt))

    @receive
    async def read_some(self, prompt: str) -> str:
        async with self.llm.stream(prompt) as stream:
            async for piece in stream:
                return piece
        return ""

    @receive
    async def count(self, text: str) -> int:
        return await self.llm.count_tokens(text)

    @receive
    async def converse(self) -> list[str]:
        async with self.llm.session(model="small") as talk:
            await talk.append("a long document")
            first = await talk.chat("hello")
            forks = await talk.fork(2)
            second = await forks[1].chat("and?")
            return [first.text, second.text]

    @receive
    async def resume(self, number: int) -> Completion[Any]:
        return await self.llm.attach(number).generate("more", temperature=0.5)


@pytest.fixture
def agent(script: Script) -> ScriptedKernel:
    return script(Agent)


def said(envelope: Envelope) -> tuple[str, dict[str, Any]]:
    """Return name and arguments of a system call."""
    assert (envelope.kind, envelope.receiver) == (Kind.ASK, KERNEL_ID)
    name, positional, arguments = decode_plain(envelope.payload)
    assert positional == []
    return name, arguments


def outcome(sent: list[Envelope]) -> Any:
    """Return the reply that the turn has committed."""
    commit = sent[0]
    assert commit.kind == Kind.COMMIT
    if commit.flags & Flag.FAILED:
        raise from_wire(decode_plain(commit.payload))
    assert commit.flags & Flag.REPLIES
    return read(commit, lambda _: None)  # type: ignore[arg-type, return-value]


def item(call: Envelope, index: int, text: str) -> Envelope:
    envelope = Envelope(Kind.ITEM, correlation=call.correlation, index=index)
    return fill(envelope, encode({"text": text, "tokens": 1}))


def end(call: Envelope, items: int, text: str) -> Envelope:
    envelope = Envelope(Kind.REPLY, correlation=call.correlation, index=items)
    return fill(envelope, encode(completion(text)))


def test_a_completion_is_a_recorded_system_call(agent: ScriptedKernel) -> None:
    (call,) = agent.ask("label", "Ticket: ...", priority=2)
    name, arguments = said(call)

    assert name == "llm_generate"
    assert arguments["input"] == {"prompt": "Ticket: ..."}
    assert arguments["sampling"] == {"max_tokens": 8, "stop": ["\n"]}
    assert call.turn
    assert len(call.digest) == 16
    assert call.priority == 2
    assert outcome(agent.reply(call, completion("billing"))) == "billing"


def test_the_call_site_is_the_handlers_line_and_no_part_of_the_digest(
    agent: ScriptedKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first,) = agent.ask("label", "x")
    agent.reply(first, completion())
    monkeypatch.setattr("actors.llm.llm.call_site", lambda: "moved:by.an.edit:99")
    (second,) = agent.ask("label", "x")

    module, qualname, line = said(first)[1]["call_site"].split(":")
    assert (module, qualname) == (__name__, "Agent.label")
    assert line.isdecimal()
    assert said(second)[1]["call_site"] == "moved:by.an.edit:99"
    assert first.digest == second.digest


def test_deadline_and_priority_are_the_turns_or_sooner(agent: ScriptedKernel) -> None:
    (own,) = agent.ask("in_a_hurry", "x", deadline=10_000_000_000, priority=3)
    agent.reply(own, completion())
    (inherited,) = agent.ask("in_a_hurry", "x", deadline=1_000_000_000)
    agent.reply(inherited, completion())
    (plain,) = agent.ask("label", "x", deadline=1_000_000_000)

    assert (own.deadline, own.priority) == (2_000_000_000, 0)
    assert inherited.deadline == 1_000_000_000
    assert plain.deadline == 1_000_000_000
    assert plain.digest != own.digest


def test_bad_options_are_refused_before_anything_is_sent(agent: ScriptedKernel) -> None:
    sent = agent.ask("hot", "x")

    assert kinds(sent) == ["COMMIT"]
    with pytest.raises(SamplingError, match="top_k"):
        outcome(sent)


def test_errors_of_the_kernel_reach_the_caller(agent: ScriptedKernel) -> None:
    (call,) = agent.ask("label", "x")

    sent = agent.error(call, PromptTooLongError(value=9, limit=8, what="the context"))

    with pytest.raises(PromptTooLongError, match="9 tokens"):
        outcome(sent)


def test_calls_can_be_gathered(agent: ScriptedKernel) -> None:
    first, second = agent.ask("both")

    assert said(second)[1]["input"] == {"messages": [{"role": "user", "content": "b"}]}
    assert said(second)[1]["model"] == "large"
    assert agent.reply(second, completion("2")) == []
    assert outcome(agent.reply(first, completion("1"))) == ["1", "2"]


def test_equal_calls_of_a_turn_have_equal_digests(agent: ScriptedKernel) -> None:
    (first,) = agent.ask("twice")
    (second,) = agent.reply(first, completion("1"))

    assert first.digest == second.digest  # the kernel orders their records
    assert outcome(agent.reply(second, completion("2"))) == ["1", "2"]


def test_a_blocking_handler_asks_for_the_result(agent: ScriptedKernel) -> None:
    (call,) = agent.ask("in_a_thread", "x")

    assert said(call)[1]["call_site"].startswith(f"{__name__}:Agent.in_a_thread:")
    assert outcome(agent.reply(call, completion("ok"))) == "ok"


def test_a_blocking_handler_reads_a_stream(agent: ScriptedKernel) -> None:
    (call,) = agent.ask("read_in_a_thread", "x")

    sent = agent.give(item(call, 0, "Hel"), item(call, 1, "lo"), end(call, 2, "Hello"))

    assert outcome(sent) == ["Hel", "lo"]


def test_a_stream_gives_pieces_and_then_the_completion(agent: ScriptedKernel) -> None:
    (call,) = agent.ask("read", "x")

    assert call.flags & Flag.STREAM
    assert agent.give(item(call, 0, "Hel"), item(call, 1, ""), item(call, 2, "lo")) == []
    assert outcome(agent.give(end(call, 3, "Hello"))) == {
        "pieces": ["Hel", "lo"],
        "text": "Hello",
        "reason": "stop",
    }


def test_a_stream_has_another_digest_than_the_same_completion(agent: ScriptedKernel) -> None:
    (stream,) = agent.ask("read", "x")
    agent.give(end(stream, 0, ""))
    (whole,) = agent.ask("in_a_hurry", "x")

    assert stream.digest != whole.digest


def test_leaving_a_stream_early_cancels_it(agent: ScriptedKernel) -> None:
    (call,) = agent.ask("read_some", "x")

    cancel, *commit = agent.give(item(call, 0, "Hel"))

    assert (cancel.kind, cancel.correlation) == (Kind.CANCEL, call.correlation)
    assert outcome(commit) == "Hel"


def test_tokens_are_counted(agent: ScriptedKernel) -> None:
    (call,) = agent.ask("count", "abc")

    assert said(call) == ("llm_count", {"input": {"prompt": "abc"}})
    assert outcome(agent.reply(call, {"tokens": 3})) == 3


def test_a_session_sends_only_what_is_new_and_is_closed_at_the_end(agent: ScriptedKernel) -> None:
    (opened,) = agent.ask("converse")
    (appended,) = agent.reply(opened, session(41))
    (first,) = agent.reply(appended, session(41, 5))
    (forked,) = agent.reply(first, completion("hi"))
    (second,) = agent.reply(forked, [session(42), session(43)])
    (closed,) = agent.reply(second, completion("so"))

    assert said(opened) == ("llm_session", {"model": "small"})
    assert said(appended)[1] == {"session": 41, "input": {"prompt": "a long document"}}
    assert said(first)[1]["session"] == 41
    assert said(forked) == ("llm_fork", {"session": 41, "count": 2})
    name, arguments = said(second)
    assert (name, arguments["session"]) == ("llm_generate", 43)
    assert arguments["input"] == {"messages": [{"role": "user", "content": "and?"}]}
    assert said(closed) == ("llm_close", {"session": 41})
    assert outcome(agent.reply(closed, {})) == ["hi", "so"]


def test_a_session_is_taken_up_by_its_id_and_its_result_can_be_returned(
    agent: ScriptedKernel,
) -> None:
    (call,) = agent.ask("resume", 41)

    assert said(call)[1]["session"] == 41
    assert "model" not in said(call)[1]
    assert outcome(agent.reply(call, completion("and so on")))["text"] == "and so on"
