"""LLM calls from acceptance to answer: prepared, queued, computed, answered.

A job needs an engine twice: to turn its input into tokens, and to compute. While none is ready
it waits in its model's line; kernel/llm/fleet.py starts engines for those. An engine that dies
gives its jobs back: they go on with all tokens that were emitted, on whichever engine is next.

Invariants:
  G1  a job in ``jobs`` is in exactly one of: a model's line, a session's line, an engine's
      ``preparing`` or ``jobs``, the queue of a remote model, the line of its owner's budget.
  G2  a request is journaled (kernel/llm/token_log.py) before an engine is told of it.
  G3  a call that nobody waits for any more has no job at the end of the loop turn.

Cost: O(1) a call and a streamed token; steps of requests that are not streamed cost nothing here.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from ext.wire import Envelope
from ipc.engine import Ended, Preparation, Report
from ipc.errors import (
    BadFrameError,
    BadPromptError,
    EngineDownError,
    InDoubtError,
    LLMOSError,
    LlmQueueFullError,
    PromptTooLongError,
    from_wire,
)
from ipc.llm import FinishReason, LlmInput
from ipc.plain import decode_plain, encode_plain
from ipc.protocol import Flag, Kind
from kernel.llm.answers import Answers
from kernel.llm.engines import Engine, Engines
from kernel.llm.job import Job, Phase, Purpose
from kernel.llm.metering import Metering
from kernel.llm.placement import Placement
from kernel.llm.remote import RemoteQueues
from kernel.llm.request import Request
from kernel.llm.session_pins import Pins
from kernel.llm.sessions import Ids, LlmSession
from kernel.llm.step_result import StepResult
from kernel.llm.token_log import Saved, TokenLog
from kernel.program import program_number

MAX_DEATHS = 3  # engines that may die while they compute a request
FOLD_EVERY = 16  # steps between looks at what is to be journaled
FOLD_FROM = 48  # tokens; so at most 63 are computed again after a crash


class Generation:
    """See the module head."""

    def __init__(
        self,
        answers: Answers,
        engines: Engines,
        log: TokenLog,
        remote: RemoteQueues,
        placement: Placement,
    ) -> None:
        self.state = answers.state
        self.placement = placement
        self.answers = answers
        self.engines = engines
        self.log = log
        self.remote = remote
        self.pins = Pins(self.state, engines)
        self.metering = Metering(
            self.state,
            log,
            resume=self.advance,
            fail=lambda job, shortage: self.fail(job, shortage.error()),
        )
        self.jobs: dict[int, Job] = {}
        self.wanted: dict[Any, None] = {}  # model versions whose line needs an engine
        self.dirty: dict[int, Engine] = {}  # engines to plan for at the end of the loop turn

    # --- to an engine -------------------------------------------------------------------

    def begin(self, job: Job, saved: Saved | None = None) -> None:
        """Take a job. saved: what the journal has of it."""
        limit = self.state.config.llm_waiting
        if saved is None and len(self.jobs) >= limit:
            value = len(self.jobs)
            raise LlmQueueFullError(value=value, model=job.model.name, limit=limit)
        self.jobs[job.id] = job
        if saved is not None:
            self._restore(job, saved)
            self.metering.restore(job)
        session = job.session
        if session is not None:
            if session.running:
                session.line.append(job.id)
                return
            session.running = job.id
        self.advance(job)

    def _restore(self, job: Job, saved: Saved) -> None:
        facts = saved.facts
        prompt = np.frombuffer(facts["ids"], np.int32)
        ids = np.concatenate([prompt, np.array(saved.emitted, np.int32)])
        job.sampling = facts["sampling"]
        job.is_sent_before = facts["sent"]
        job.request = self._make_request(job, ids, len(prompt))
        for text in saved.texts:
            self.answers.show(job, text, 1)
        job.request.sent_chars = len(job.shown)

    def advance(self, job: Job) -> None:
        """Bring a job to an engine that is ready, or into its model's line."""
        ready = [engine for engine in self.engines.of_model(job.model) if engine.takes_work]
        if not ready:
            job.phase, job.engine = Phase.LINE, 0
            self.engines.line(job.model).append(job)
            self.wanted[job.model] = None
            return
        session = job.session.engine if job.session is not None else 0
        engine = self.placement.choose(ready, self.state.now_ns, session)
        try:
            self._check_doubt(job)
            if job.end_reason is not None:
                self._spell(job, engine)
            elif job.request is not None:
                self._queue(job, engine)
            else:
                self._prepare(job, engine)
        except LLMOSError as error:
            self.fail(job, error)

    def _check_doubt(self, job: Job) -> None:
        """Raise InDoubtError for a remote call that may have been computed and billed."""
        if job.is_sent_before and (job.shown or not job.retries_doubt):
            reason = "the process that had sent it died before the endpoint's answer was recorded"
            raise InDoubtError(call=f"a completion by {job.model.label}", reason=reason)
        if job.is_sent_before:
            self.metering.charge_attempt(job)
        job.is_sent_before = False

    def _prepare(self, job: Job, engine: Engine) -> None:
        given = self.whole_input(job)
        if given is None:
            assert job.session is not None
            self._take_ids(job, engine, job.session.ids)
            return
        body = Preparation(input=given)
        if job.purpose is Purpose.GENERATE:
            body["sampling"] = job.sampling
        if job.session is not None and len(job.session.ids) and "messages" not in given:
            body["previous"] = job.session.ids.tobytes()
        job.phase, job.engine = Phase.PREPARING, engine.actor
        engine.preparing[job.id] = job
        self.post(engine, Envelope(Kind.PREPARE, payload=encode_plain(body), correlation=job.id))

    def whole_input(self, job: Job) -> LlmInput | None:
        """Return what the engine is to turn into tokens: in a chat, all messages so far.

        Raises:
            BadPromptError: text and chat are mixed in one session, or there is nothing.
        """
        session, given = job.session, job.given
        if session is None:
            return given
        if given is None:
            if session.messages:
                return LlmInput(messages=session.messages, tools=session.tools)
            if not len(session.ids):
                raise BadPromptError(problem="the session is empty: append something first")
            return None
        if "messages" not in given:
            if session.messages or job.model.kind == "remote":
                raise BadPromptError(problem="this session is a chat: give messages")
            return given
        if len(session.ids) and not session.messages:
            raise BadPromptError(problem="this session holds text: give a prompt or ids")
        whole = LlmInput(messages=[*session.messages, *given["messages"]])
        if tools := given.get("tools") or session.tools:
            whole["tools"] = tools
        return whole

    def on_prepared(self, engine: Engine, envelope: Envelope) -> None:
        """The engine has turned a job's input into tokens, or refuses it."""
        job = engine.preparing.pop(envelope.correlation, None)
        if job is None:
            return  # cancelled meanwhile
        body = decode_plain(envelope.payload)
        try:
            if job.end_reason is not None:
                self._complete_spelt(job, body, is_refused=bool(envelope.flags & Flag.FAILED))
                return
            if envelope.flags & Flag.FAILED:
                raise from_wire(body)
            ids = np.frombuffer(_bytes_of(body, "ids"), np.int32)
            session = job.session
            if session is not None and job.given is not None and "messages" not in job.given:
                ids = np.concatenate([session.ids, ids])
            self._take_ids(job, engine, ids)
        except LLMOSError as error:
            self.fail(job, error)

    def _take_ids(self, job: Job, engine: Engine, ids: Ids) -> None:
        if job.purpose is Purpose.COUNT:
            self._finish(job, encode_plain({"tokens": len(ids)}))
        elif job.purpose is Purpose.APPEND:
            assert job.session is not None
            self.extend_session(job.session, job.given, ids, None)
            self._finish(job, encode_plain(job.session.info()))
        else:
            if not len(ids) and engine.scheduler is not None:
                raise BadPromptError(problem="it comes to no tokens at all")
            self._open(job, engine, ids)

    def _open(self, job: Job, engine: Engine, ids: Ids) -> None:
        """Journal the request and queue it (G2)."""
        sampling = job.sampling
        if "seed" not in sampling:
            sampling["seed"] = self.state.rng.getrandbits(62)
        if engine.scheduler is not None:
            room = engine.facts["max_context"] - len(ids)
            if room < 1:
                limit = engine.facts["max_context"] - 1
                raise PromptTooLongError(value=len(ids), what="the model's context", limit=limit)
            sampling["max_tokens"] = min(sampling["max_tokens"], room)
        job.request = self._make_request(job, ids, len(ids))
        if engine.scheduler is not None:
            engine.scheduler.check(job.request)
        self.log.open(job.id, self._facts(job))
        self._queue(job, self._place(job, engine))

    def _place(self, job: Job, engine: Engine) -> Engine:
        """Think again about the engine of a job without a session: its tokens are known now."""
        if job.session is not None or engine.scheduler is None or job.request is None:
            return engine
        engines = [other for other in self.engines.of_model(job.model) if other.takes_work]
        return self.placement.choose_again(engines, engine, job.request.ids, self.state.now_ns)

    def note_sent(self, job: Job, *, is_sent: bool = True) -> None:
        """Journal that a remote call may be computed from now on, or is not after all."""
        self.log.amend(job.id, self._facts(job, is_sent=is_sent))

    def _facts(self, job: Job, *, is_sent: bool = False) -> dict[str, Any]:
        assert job.request is not None
        return {
            "ids": job.request.ids[: job.request.num_prompt].tobytes(),
            "sampling": job.sampling,
            "model": [job.model.name, job.model.version],
            "sent": is_sent,
            "held": job.meter.reserved if is_sent and job.meter is not None else None,
        }

    def _make_request(self, job: Job, ids: Ids, num_prompt: int) -> Request:
        asked, owner = job.call.request, self.state.actors.get(job.owner)
        return Request(
            id=job.id,
            owner=job.owner,
            ids=ids,
            num_prompt=num_prompt,
            sampling=job.sampling,
            stream=job.call.is_stream,
            priority=job.priority,
            arrival_ns=job.accepted_ns,
            call_site=job.call_site,
            sent_chars=len(job.shown),
            has_tools=_has_tools(job),
            family=job.session.family if job.session is not None else 0,
            program=program_number(asked.trace) if asked is not None else 0,
            weight=owner.weight if owner is not None else 1.0,
            parents=job.parents,
        )

    def _queue(self, job: Job, engine: Engine) -> None:
        assert job.request is not None
        given = self.whole_input(job) if engine.scheduler is None else None
        if not self.metering.admit(job, engine, given):
            return
        job.phase = Phase.QUEUED
        if engine.scheduler is None:
            assert given is not None
            job.engine = 0
            self.remote.add(job, given)
            return
        job.engine = engine.actor
        engine.scheduler.add(job.request, self.state.now_ns)
        engine.jobs[job.id] = job
        several = len(self.engines.of_model(job.model)) > 1
        if several:
            self.placement.begin(job.id, engine, job.request.ids, self.state.now_ns)
        if job.meter is not None:
            engine.metered[job.id] = job
        if job.session is not None:
            job.session.engine = engine.actor
        self.dirty[engine.actor] = engine

    # --- steps --------------------------------------------------------------------------

    def on_report(self, engine: Engine, envelope: Envelope) -> None:
        """A step has been computed. Raises BadFrameError: the engine breaks the contract."""
        scheduler = engine.scheduler
        if scheduler is None:
            return
        report = _report_of(decode_plain(envelope.payload))
        result = scheduler.report(report, self.state.now_ns)
        engine.step_ns = report.get("step_ns", 0)
        self.dirty[engine.actor] = engine
        if result.streams.any():
            self._show_streams(result)
        for request, logprobs in result.logprobs:
            job = self.jobs.get(request.id)
            if job is not None:
                job.logprobs.append(logprobs)
        for request, ended in result.ended:
            self._end(engine, request, ended)
        self._end_here(engine, result.ended_here)
        for request, error in result.failed:
            job = self.jobs.get(request.id)
            if job is not None:
                engine.jobs.pop(job.id, None)
                self.fail(job, from_wire(error))
        engine.steps += 1
        if engine.steps % FOLD_EVERY == 0:
            self._fold(engine)
        if engine.metered:
            self.metering.after_step(engine)

    def _show_streams(self, result: StepResult) -> None:
        """Journal and show what this step gave to streamed requests."""
        rows = result.streams.nonzero()[0]
        texts = {request.id: text for request, text in result.texts}
        jobs = [self.jobs[one] for one in result.request_ids[rows].tolist()]
        shown = [texts.get(job.id, "") for job in jobs]
        tokens = result.tokens[rows].tolist()
        self.log.step([job.id for job in jobs], tokens, shown)
        for job, text in zip(jobs, shown, strict=True):
            self.answers.show(job, text, 1)

    def _fold(self, engine: Engine) -> None:
        for job in engine.jobs.values():
            request = job.request
            if request is not None and self.log.num_loose(job.id, request.num_emitted) >= FOLD_FROM:
                self.log.fold(job.id, request.ids[request.num_prompt :])

    def _end(self, engine: Engine, request: Request, ended: Ended) -> None:
        job = engine.jobs.pop(request.id, None)
        if job is not None:
            self._complete(job, ended["text"], ended["reason"], ended.get("tool_calls"))

    def _end_here(self, engine: Engine, ends: list[tuple[Request, FinishReason]]) -> None:
        """The scheduler has ended these. Their tokens are known; what they spell is not."""
        for request, reason in ends:
            job = engine.jobs.pop(request.id, None)
            if job is not None:
                job.end_reason = reason
                self._spell(job, engine)

    def _spell(self, job: Job, engine: Engine) -> None:
        """Have an engine turn the tokens of a job that has ended into text."""
        request, reason = job.request, job.end_reason
        assert request is not None
        assert reason is not None
        if not request.num_emitted:
            self._complete(job, "", reason)
            return
        body = Preparation(emitted=request.emitted.tobytes(), sampling=job.sampling)
        job.phase, job.engine = Phase.SPELLING, engine.actor
        engine.preparing[job.id] = job
        self.post(engine, Envelope(Kind.PREPARE, payload=encode_plain(body), correlation=job.id))

    def _complete_spelt(self, job: Job, body: Any, *, is_refused: bool) -> None:
        """Answer with the text that came; of a driver that has none, with what was shown."""
        assert job.end_reason is not None
        text = job.shown if is_refused else body.get("text")
        if not isinstance(text, str):
            raise BadFrameError(reason="a completion that was to be spelt has a text")
        self._complete(job, text, job.end_reason)

    def _complete(
        self, job: Job, text: str, reason: FinishReason, tool_calls: list[Any] | None = None
    ) -> None:
        assert job.request is not None
        self.placement.succeed(job.id, job.request.num_emitted, self.state.now_ns)
        completion = self.answers.completion(job, text, reason)
        reply: dict[str, Any] = {"role": "assistant", "content": text}
        if tool_calls is not None:
            completion["tool_calls"] = reply["tool_calls"] = tool_calls
        if job.logprobs:
            completion["logprobs"] = job.logprobs
        if job.session is not None:
            self.extend_session(job.session, job.given, job.request.ids.copy(), reply)
        self.release(job)
        self.answers.complete(job, completion)

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
            self.pins.refresh(session)

    def raise_priority(self, call_id: int, priority: int) -> None:
        """A call has inherited a more urgent priority: so have those its session does first."""
        job = self.jobs.get(call_id)
        if job is None or job.priority <= priority:
            return
        job.priority = priority
        if job.request is not None:
            job.request.priority = priority
        session, engine = job.session, self.engines.get(job.engine)
        if session is not None and session.running != job.id:
            before = [session.running, *itertools.takewhile(lambda n: n != job.id, session.line)]
            for other in before:
                self.raise_priority(other, priority)
        if job.request is not None and engine is not None and engine.scheduler is not None:
            engine.scheduler.reprioritise(job.id, priority, self.state.now_ns)
            self.dirty[engine.actor] = engine
        elif job.phase is Phase.QUEUED:
            self.remote.raise_priority(job)

    # --- ends ---------------------------------------------------------------------------

    def _finish(self, job: Job, body: bytes) -> None:
        self.release(job)
        self.answers.delivery.answer(job.call, body)

    def fail(self, job: Job, error: LLMOSError) -> None:
        """End a job with an error."""
        self.release(job)
        self.answers.fail(job, error)

    def fail_call(self, call_id: int, error: LLMOSError) -> None:
        """End a job, wherever it is, with an error."""
        job = self.jobs.get(call_id)
        if job is not None:
            self.drop(call_id)
            self.answers.fail(job, error)

    def release(self, job: Job) -> None:
        """Forget a job; the next one of its session begins."""
        if self.jobs.pop(job.id, None) is None:
            return
        self.placement.leave(job.id)
        if job.meter is not None:
            self.metering.close(job)
        self.log.close(job.id)
        session = job.session
        if session is not None and session.running == job.id:
            session.running = session.line.popleft() if session.line else 0
            if session.running:
                self.advance(self.jobs[session.running])

    def drop(self, call_id: int) -> None:
        """Nobody waits for this call any more, or it was answered otherwise (G3)."""
        job = self.jobs.get(call_id)
        if job is None:
            return
        engine = self.engines.get(job.engine)
        if self.remote.cancel(job) and engine is not None:
            self.post(engine, Envelope(Kind.CANCEL, correlation=call_id))
        if engine is not None:
            engine.preparing.pop(call_id, None)
            if engine.jobs.pop(call_id, None) is not None and engine.scheduler is not None:
                engine.scheduler.cancel(call_id, self.state.now_ns)
                self.dirty[engine.actor] = engine
        elif job in self.engines.line(job.model):
            self.engines.line(job.model).remove(job)
        if job.session is not None and job.id in job.session.line:
            job.session.line.remove(job.id)
        self.release(job)

    def meter_anew(self, owners: set[int]) -> None:
        """Owners have got a budget: it counts from here on for what they wait for."""
        for job in list(self.jobs.values()):
            if job.owner in owners and job.meter is None and job.phase is Phase.QUEUED:
                engine = self.engines.get(job.engine)
                if engine is not None and engine.scheduler is not None:
                    engine.scheduler.cancel(job.id, self.state.now_ns)
                    engine.jobs.pop(job.id, None)
                    self.dirty[engine.actor] = engine
                else:
                    self.remote.cancel(job)
                self.advance(job)

    # --- engines come and go --------------------------------------------------------------

    def drain_line(self, engine: Engine) -> None:
        """An engine is ready: the jobs that waited for its model go on."""
        line = self.engines.line(engine.model)
        for _ in range(len(line)):
            self.advance(line.popleft())

    def fail_line(self, model: Any, error: LLMOSError) -> None:
        """No engine of the model will be ready."""
        line = self.engines.line(model)
        while line:
            self.fail(line.popleft(), error)

    def take_back(self, engine: Engine, *, is_dead: bool) -> None:
        """An engine knows nothing any more: its jobs look for one, with what they have."""
        jobs = sorted([*engine.preparing.values(), *engine.jobs.values()], key=lambda job: job.id)
        self.placement.forget(engine.actor)
        engine.preparing.clear()
        engine.jobs.clear()
        engine.metered.clear()
        if engine.scheduler is not None:
            engine.scheduler.close(self.state.now_ns)
            engine.scheduler = None
        for job in jobs:
            if is_dead and job.request is not None and job.request.first_planned_ns:
                job.deaths += 1
            if job.phase is Phase.SENT:
                job.is_sent_before = True
                self.remote.settle(job, None)
            job.engine = 0
            if job.deaths >= MAX_DEATHS:
                problem = f"its process died {job.deaths} times while it computed this request"
                self.fail(job, EngineDownError(model=job.model.label, problem=problem))
            else:
                self.advance(job)

    def post(self, engine: Engine, envelope: Envelope) -> None:
        """Send an engine an envelope."""
        record = self.state.actors.get(engine.actor)
        if record is not None:
            envelope.receiver = record.id
            self.state.post(record, envelope)

    def plan(self, engine: Engine) -> None:
        """Send an engine its next steps, as many as may be out."""
        scheduler = engine.scheduler
        if scheduler is None:
            return
        while (plan := scheduler.plan(self.state.now_ns)) is not None:
            self.post(engine, Envelope(Kind.PLAN, payload=encode_plain(plan)))
        self._end_here(engine, scheduler.take_ends())


def _has_tools(job: Job) -> bool:
    given, session = job.given or LlmInput(), job.session
    return bool(given.get("tools") or (session is not None and session.tools))


def _bytes_of(body: Any, key: str) -> bytes:
    value = body.get(key) if isinstance(body, dict) else None
    if not isinstance(value, bytes) or len(value) % 4:
        raise BadFrameError(reason=f"{key} are int32 ids as bytes")
    return value


def _report_of(body: Any) -> Report:
    if not isinstance(body, dict):
        raise BadFrameError(reason="a report is a map")
    return body  # type: ignore[return-value]
