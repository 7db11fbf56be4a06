"""Jobs that have been computed: made into text where that is missing, kept in sessions, answered.

A job that the kernel itself has ended is known by its tokens only: an engine, whichever is ready,
spells them (``spell``, then ``complete_spelt``).
"""

from __future__ import annotations

from typing import Any

from ext.wire import Envelope
from ipc.engine import Preparation
from ipc.errors import BadFrameError
from ipc.llm import FinishReason, LlmInput
from ipc.plain import encode_plain
from ipc.protocol import Kind
from kernel.llm.engines import Engine
from kernel.llm.job import Job, Phase
from kernel.llm.job_table import JobTable
from kernel.llm.session_pins import Pins
from kernel.llm.sessions import Ids, LlmSession
from kernel.llm.tool_holds import ToolHolds


class Completions:
    """See the module head."""

    def __init__(self, table: JobTable, pins: Pins, holds: ToolHolds) -> None:
        self.state = table.state
        self.table = table
        self.pins = pins
        self.holds = holds

    def spell(self, job: Job, engine: Engine) -> None:
        """Have an engine turn the tokens of a job that has ended into text."""
        request, reason = job.request, job.end_reason
        assert request is not None
        assert reason is not None
        if not request.num_emitted:
            self.complete(job, "", reason)
            return
        body = Preparation(emitted=request.emitted.tobytes(), sampling=job.sampling)
        job.phase, job.engine = Phase.SPELLING, engine.actor
        engine.preparing[job.id] = job
        self.table.post(
            engine, Envelope(Kind.PREPARE, payload=encode_plain(body), correlation=job.id)
        )

    def complete_spelt(self, job: Job, body: Any, *, is_refused: bool) -> None:
        """Answer with the text that came; of a driver that has none, with what was shown."""
        assert job.end_reason is not None
        text = job.shown if is_refused else body.get("text")
        if not isinstance(text, str):
            raise BadFrameError(reason="a completion that was to be spelt has a text")
        self.complete(job, text, job.end_reason)

    def complete(
        self, job: Job, text: str, reason: FinishReason, tool_calls: list[Any] | None = None
    ) -> None:
        """Answer with what was computed; a session holds it from now on."""
        assert job.request is not None
        self.table.placement.succeed(job.id, job.request.num_emitted, self.state.now_ns)
        completion = self.table.answers.completion(job, text, reason)
        reply: dict[str, Any] = {"role": "assistant", "content": text}
        if tool_calls is not None:
            completion["tool_calls"] = reply["tool_calls"] = tool_calls
        if job.logprobs:
            completion["logprobs"] = job.logprobs
        if job.session is not None:
            self.extend_session(job.session, job.given, job.request.ids.copy(), reply)
        tools = [str(each.get("name")) for each in tool_calls or ()]
        self.holds.end(job.request, job.engine, job.program, tools, self.state.now_ns)
        self.table.release(job)
        self.table.answers.complete(job, completion)

    def extend_session(
        self,
        session: LlmSession,
        given: LlmInput | None,
        ids: Ids,
        reply: dict[str, Any] | None,
    ) -> None:
        """Let a session hold these tokens, and in a chat the messages they stand for."""
        session.ids = ids
        if given is not None and "messages" in given:
            session.messages += given["messages"]
            session.tools = given.get("tools") or session.tools
        if session.messages and reply is not None:
            session.messages.append(reply)
        self.state.output.changes.put("llm_session", session.id, (session.to_row(),))
        if session.pinned_until_ns:
            self.pins.follow(session)
