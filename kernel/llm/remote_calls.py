"""Calls to remote endpoints: sent when the limits allow, tried again only where that is safe.

A call is marked as sent in the journal before its frame leaves. If its engine or the kernel then
dies, nobody can say whether the endpoint has computed (and billed) it: the caller gets
InDoubtError, unless it has said ``on_doubt="retry"``.
"""

from __future__ import annotations

from typing import Any

from ext.wire import Envelope
from ipc.engine import RemoteCall
from ipc.errors import BadFrameError, EndpointError, InDoubtError, LLMOSError, from_wire
from ipc.llm import Completion, Piece, Usage
from ipc.plain import decode_plain, encode_plain
from ipc.protocol import Flag, Kind
from kernel.llm.engines import Engine
from kernel.llm.generation import Generation
from kernel.llm.job import Job, Phase
from kernel.llm.job_input import whole_input
from kernel.llm.registry import ModelVersion
from kernel.llm.remote_queue import RemoteQueue
from kernel.timers import Due

NO_TOKEN = -1
MAX_COUNT = 1 << 31  # of tokens
_REFUSED = 300  # HTTP statuses from here on say that nothing was generated, unless in doubt


class RemoteCalls:
    """See the module head."""

    def __init__(self, generation: Generation) -> None:
        self.generation = generation
        self.state = generation.state
        self.table = generation.table
        self.answers = generation.answers
        self.queues = generation.remote
        self.metering = generation.metering

    def pump(self, model: ModelVersion) -> None:
        """Send what may be sent now; be woken when time lets more through."""
        self._send_ready(model, self.queues.queue(model))
        self.queues.save(model)

    def _send_ready(self, model: ModelVersion, queue: RemoteQueue) -> None:
        ready = [engine for engine in self.generation.engines.of_model(model) if engine.is_ready]
        if not ready:
            if len(queue):
                self.table.wanted[model] = None
            return
        # A driver gives up the calls of an earlier kernel before it says that it is ready.
        queue.book.end_left(self.state.now_ns)
        for identifier in queue.take_ready(self.state.now_ns):
            job = self.queues.jobs[identifier]
            engine = self.generation.placement.choose(ready, self.state.now_ns)
            if len(ready) > 1:
                self.generation.placement.begin(job.id, engine, None, self.state.now_ns)
            self._send(job, engine)
        due_ns = queue.next_due_ns()
        if due_ns is not None:
            due_ns = max(due_ns, self.state.now_ns + 1)
            self.state.timers.set(Due.REMOTE, model.label, due_ns)

    def _send(self, job: Job, engine: Engine) -> None:
        given = whole_input(job)
        assert given is not None
        job.phase, job.engine = Phase.SENT, engine.actor
        job.attempts += 1
        engine.jobs[job.id] = job
        request = job.request
        if request is not None and not request.first_planned_ns:
            request.first_planned_ns = self.state.now_ns
        self.generation.note_sent(job)
        body = RemoteCall(input=given, sampling=job.sampling, stream=job.call.is_stream)
        due_ns = self.state.timers.due_at(Due.DEADLINE, job.id)
        if due_ns is not None:
            body["remaining_ns"] = max(1, due_ns - self.state.now_ns)
        envelope = Envelope(Kind.CALL, payload=encode_plain(body), correlation=job.id)
        self.table.post(engine, envelope)

    def on_piece(self, engine: Engine, envelope: Envelope) -> None:
        """Text of a streamed completion has come."""
        job = engine.jobs.get(envelope.correlation)
        if job is None or not job.call.is_stream:
            return
        piece: Piece = decode_plain(envelope.payload)
        text, tokens = _text_of(piece), int(piece.get("tokens", 0))
        request = job.request
        if request is not None and not request.first_token_ns:
            request.first_token_ns = self.state.now_ns
        self.generation.log.step([job.id], [NO_TOKEN], [text])
        self.answers.show(job, text, max(0, tokens))

    def on_done(self, engine: Engine, envelope: Envelope) -> None:
        """A call has ended. Raises BadFrameError: none can say how; it stays with the engine."""
        job = engine.jobs.get(envelope.correlation)
        if job is None:
            return  # cancelled meanwhile
        body = decode_plain(envelope.payload)
        if not isinstance(body, dict):
            raise BadFrameError(reason="the body of DONE is a map")
        if envelope.flags & Flag.FAILED:
            error = from_wire(body.get("error"))
            del engine.jobs[job.id]
            self._failed(job, body, error)
        else:
            completion, used_tokens = self._read(job, body)
            del engine.jobs[job.id]
            self._completed(job, completion, used_tokens)

    def _failed(self, job: Job, failure: dict[str, Any], error: LLMOSError) -> None:
        is_unstarted = bool(failure.get("is_unstarted"))
        is_in_doubt = bool(failure.get("is_in_doubt"))
        if is_in_doubt:
            error = InDoubtError(call=f"a completion by {job.model.label}", reason=str(error))
        # Text that was shown cannot be taken back, and another attempt would say something else.
        if not job.shown and (is_unstarted or (is_in_doubt and job.retries_doubt)):
            self._try_again(job, failure, error)
            return
        self.queues.settle(job, 0 if is_unstarted else None)
        if is_unstarted or (isinstance(error, EndpointError) and error.status >= _REFUSED):
            self.metering.release(job)  # it was refused before anything was generated
        self.table.fail(job, error)

    def _try_again(self, job: Job, failure: dict[str, Any], error: LLMOSError) -> None:
        queue = self.queues.queue(job.model)
        used_tokens = 0 if failure.get("is_unstarted") else None
        if used_tokens is None and not self._pay_again(job):
            return
        retry_after_s, after_ns = failure.get("retry_after_s"), None
        if isinstance(retry_after_s, (int, float)) and retry_after_s == retry_after_s:
            after_ns = int(min(max(retry_after_s, 0.0), 86_400.0) * 1e9)
        job.phase, job.engine = Phase.QUEUED, 0
        self.queues.dirty[job.model] = None
        now_ns = self.state.now_ns
        if queue.retry_later(job.id, now_ns, after_ns, job.attempts, used_tokens=used_tokens):
            self.state.counters.add("llm_remote_retries")
            self.generation.note_sent(job, is_sent=False)
        else:
            self.queues.jobs.pop(job.id, None)
            self.table.fail(job, error)

    def _pay_again(self, job: Job) -> bool:
        """An attempt in doubt is paid; reserve for another, or let it wait for budget."""
        if job.meter is None:
            return True
        self.metering.charge_attempt(job)
        self.generation.note_sent(job, is_sent=False)
        job.phase = Phase.QUEUED
        try:
            if self.metering.admit_again(job):
                return True
        except LLMOSError as error:
            self.queues.settle(job, None)
            self.table.fail(job, error)
        else:
            self.queues.settle(job, None)
        return False

    def _read(self, job: Job, body: dict[str, Any]) -> tuple[Completion, int | None]:
        """Return what a call has come to, and the tokens it used, if that was said."""
        text, reason = body.get("text"), body.get("finish_reason")
        if not isinstance(text, str) or not isinstance(reason, str):
            raise BadFrameError(reason="a completion has text and finish_reason")
        completion = self.answers.completion(job, text, reason)  # type: ignore[arg-type]
        used_tokens = _take_usage(completion["usage"], body.get("usage"))
        for key in ("tool_calls", "logprobs"):
            if key in body:
                if not isinstance(body[key], (list, type(None))):
                    raise BadFrameError(reason=f"{key} are a list")
                completion[key] = body[key]
        return completion, used_tokens

    def _completed(self, job: Job, completion: Completion, used_tokens: int | None) -> None:
        self.queues.settle(job, used_tokens)
        if used_tokens is not None:
            usage = completion["usage"]
            self.metering.settle_call(job, usage["prompt_tokens"], usage["completion_tokens"])
        tokens = completion["usage"]["completion_tokens"]
        self.generation.placement.succeed(job.id, tokens, self.state.now_ns)
        self._remember(job, completion)
        self.table.release(job)
        self.answers.complete(job, completion)

    def _remember(self, job: Job, completion: Completion) -> None:
        if job.session is None:
            return
        reply: dict[str, Any] = {"role": "assistant", "content": completion["text"]}
        if "tool_calls" in completion:
            reply["tool_calls"] = completion["tool_calls"]
        self.generation.completions.extend_session(job.session, job.given, job.session.ids, reply)


def _take_usage(usage: Usage, said: Any) -> int | None:
    """Put what the endpoint said into a usage; return their sum, None if it said nothing."""
    if said is None:
        return None
    if not isinstance(said, dict):
        raise BadFrameError(reason="usage is a map")
    usage["prompt_tokens"] = _count_of(said["prompt_tokens"])
    usage["cached_tokens"] = _count_of(said.get("cached_tokens", 0))
    usage["completion_tokens"] = _count_of(said["completion_tokens"])
    return usage["prompt_tokens"] + usage["completion_tokens"]


def _count_of(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= MAX_COUNT:
        raise BadFrameError(reason=f"{value!r} is no count of tokens")
    return value


def _text_of(piece: Any) -> str:
    text = piece.get("text") if isinstance(piece, dict) else None
    if not isinstance(text, str):
        raise BadFrameError(reason="a piece has a text")
    return text
