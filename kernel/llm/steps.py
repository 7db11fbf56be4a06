"""The steps of engines: plans go out, reports come in, what a step gave is journaled and shown.

Cost: O(1) a streamed token; steps of requests that are not streamed cost nothing here, but for
a look at what is to be journaled every ``FOLD_EVERY`` steps.
"""

from __future__ import annotations

from typing import Any

from ext.wire import Envelope
from ipc.engine import Ended, Report
from ipc.errors import BadFrameError, from_wire
from ipc.llm import FinishReason
from ipc.plain import decode_plain, encode_plain
from ipc.protocol import Kind
from kernel.llm.completions import Completions
from kernel.llm.engines import Engine
from kernel.llm.job_table import JobTable
from kernel.llm.request import Request
from kernel.llm.step_result import StepResult

FOLD_EVERY = 16  # steps between looks at what is to be journaled
FOLD_FROM = 48  # tokens; so at most 63 are computed again after a crash


class Steps:
    """See the module head."""

    def __init__(self, table: JobTable, completions: Completions) -> None:
        self.state = table.state
        self.table = table
        self.completions = completions

    def plan(self, engine: Engine) -> None:
        """Send an engine its next steps, as many as may be out."""
        scheduler = engine.scheduler
        if scheduler is None:
            return
        while (plan := scheduler.plan(self.state.now_ns)) is not None:
            self.table.post(engine, Envelope(Kind.PLAN, payload=encode_plain(plan)))
        self.table.pins.settle(scheduler)  # some may have been given up for a request
        self._end_here(engine, scheduler.take_ends())

    def on_report(self, engine: Engine, envelope: Envelope) -> None:
        """A step has been computed. Raises BadFrameError: the engine breaks the contract."""
        scheduler = engine.scheduler
        if scheduler is None:
            return
        report = _report_of(decode_plain(envelope.payload))
        result = scheduler.report(report, self.state.now_ns)
        engine.step_ns = report.get("step_ns", 0)
        self.table.dirty[engine.actor] = engine
        if result.streams.any():
            self._show_streams(result)
        for request, logprobs in result.logprobs:
            job = self.table.jobs.get(request.id)
            if job is not None:
                job.logprobs.append(logprobs)
        for request, ended in result.ended:
            self._end(engine, request, ended)
        self._end_here(engine, result.ended_here)
        for request, error in result.failed:
            job = self.table.jobs.get(request.id)
            if job is not None:
                engine.jobs.pop(job.id, None)
                self.table.fail(job, from_wire(error))
        engine.steps += 1
        if engine.steps % FOLD_EVERY == 0:
            self._fold(engine)
        if engine.metered:
            self.table.metering.after_step(engine)

    def _show_streams(self, result: StepResult) -> None:
        """Journal and show what this step gave to streamed requests."""
        rows = result.streams.nonzero()[0]
        texts = {request.id: text for request, text in result.texts}
        jobs = [self.table.jobs[one] for one in result.request_ids[rows].tolist()]
        shown = [texts.get(job.id, "") for job in jobs]
        tokens = result.tokens[rows].tolist()
        self.table.log.step([job.id for job in jobs], tokens, shown)
        for job, text in zip(jobs, shown, strict=True):
            self.table.answers.show(job, text, 1)

    def _fold(self, engine: Engine) -> None:
        for job in engine.jobs.values():
            request = job.request
            if (
                request is not None
                and self.table.log.num_loose(job.id, request.num_emitted) >= FOLD_FROM
            ):
                self.table.log.fold(job.id, request.ids[request.num_prompt :])

    def _end(self, engine: Engine, request: Request, ended: Ended) -> None:
        job = engine.jobs.pop(request.id, None)
        if job is not None:
            self.completions.complete(job, ended["text"], ended["reason"], ended.get("tool_calls"))

    def _end_here(self, engine: Engine, ends: list[tuple[Request, FinishReason]]) -> None:
        """The scheduler has ended these. Their tokens are known; what they spell is not."""
        for request, reason in ends:
            job = engine.jobs.pop(request.id, None)
            if job is not None:
                job.end_reason = reason
                self.completions.spell(job, engine)


def _report_of(body: Any) -> Report:
    if not isinstance(body, dict):
        raise BadFrameError(reason="a report is a map")
    return body  # type: ignore[return-value]
