"""The LLM calls that are not answered yet, and how one leaves, wherever it is.

What is left for the end of the loop turn is noted here: engines to plan for, models that want one.

Cost: O(1) a call, but for one that leaves a line, which is searched.
"""

from __future__ import annotations

from collections.abc import Callable

from ext.wire import Envelope
from ipc.errors import LLMOSError
from ipc.protocol import Kind
from kernel.llm.answers import Answers
from kernel.llm.engines import Engine, Engines
from kernel.llm.job import Job
from kernel.llm.metering import Metering
from kernel.llm.placement import Placement
from kernel.llm.registry import ModelVersion
from kernel.llm.remote import RemoteQueues
from kernel.llm.session_pins import Pins
from kernel.llm.token_log import TokenLog


class JobTable:
    """See the module head. advance: brings a job to an engine, when its turn has come."""

    def __init__(
        self,
        answers: Answers,
        engines: Engines,
        log: TokenLog,
        remote: RemoteQueues,
        placement: Placement,
        advance: Callable[[Job], None],
    ) -> None:
        self.state = answers.state
        self.answers = answers
        self.engines = engines
        self.log = log
        self.remote = remote
        self.placement = placement
        self.pins = Pins(self.state, engines)
        self.metering = Metering(
            self.state,
            log,
            yield_pin=self.pins.yield_one,
            resume=advance,
            fail=lambda job, shortage: self.fail(job, shortage.error()),
        )
        self._advance = advance
        self.jobs: dict[int, Job] = {}
        self.wanted: dict[ModelVersion, None] = {}  # their lines need an engine
        self.dirty: dict[int, Engine] = {}  # engines to plan for at the end of the loop turn

    def post(self, engine: Engine, envelope: Envelope) -> None:
        """Send an engine an envelope."""
        record = self.state.actors.get(engine.actor)
        if record is not None:
            envelope.receiver = record.id
            self.state.post(record, envelope)

    def finish(self, job: Job, body: bytes) -> None:
        """End a job with an answer."""
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
            self._drop(call_id)
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
                self._advance(self.jobs[session.running])

    def cancel(self, call_id: int) -> None:
        """Nobody waits for this call any more, or it was answered otherwise (G3)."""
        recorder, job = self.answers.recorder, self.jobs.get(call_id)
        if recorder.recording is not None and job is not None:
            recorder.note_unfinished(job, "cancelled")
        self._drop(call_id)

    def _drop(self, call_id: int) -> None:
        """Forget a job, wherever it is; no engine computes it any more."""
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

    def fail_line(self, model: ModelVersion, error: LLMOSError) -> None:
        """No engine of the model will be ready."""
        line = self.engines.line(model)
        while line:
            self.fail(line.popleft(), error)
