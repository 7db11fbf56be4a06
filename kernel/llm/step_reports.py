"""What a step's report changes: tokens, times, computed blocks, and who has ended.

Cost: bench/llm_scheduler.py; a step in which nobody ends is a few array operations and two calls of
the KV cache, whatever the number of requests.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ipc.engine import Report
from ipc.errors import BadFrameError
from kernel.llm.flight import Flight
from kernel.llm.report_check import CheckedReport, check_report
from kernel.llm.shared import Shared
from kernel.llm.step_result import StepResult


class StepReports:
    """See the module head."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared

    def take(self, report: Report) -> StepResult:
        """Apply the report of the oldest plan that is out.

        Raises:
            BadFrameError: it breaks the contract. Nothing was changed.
        """
        shared = self._shared
        if not isinstance(report, dict) or not shared.flights:
            raise BadFrameError(reason="a step's report: no step is under way")
        flight = shared.flights[0]
        if report.get("plan") != flight.number:
            raise BadFrameError(
                reason=f"a step's report: {report.get('plan')!r}, expected {flight.number}"
            )
        checked = check_report(report, flight, shared.limits.vocab_size, self._at_limit(flight))
        shared.flights.popleft()
        return self._apply(flight, checked, report)

    def _at_limit(self, flight: Flight) -> NDArray[np.bool_]:
        """Return which rows give their request the last token it may have."""
        limits: NDArray[np.bool_] = self._shared.batch.unsampled[flight.slots] == 1
        if flight.is_disturbed:
            # Of those, the slot may be somebody else's by now.
            for row in flight.left[flight.slots].nonzero()[0].tolist():
                request = flight.requests[row]
                limits[row] = request.num_emitted + 1 >= request.max_tokens
        return limits

    def _apply(self, flight: Flight, checked: CheckedReport, report: Report) -> StepResult:
        shared = self._shared
        tokens, handles, requests = checked.tokens, flight.handles, flight.requests
        if checked.kept is not None:
            tokens, handles = tokens[checked.kept], handles[checked.kept]
            requests = requests[checked.kept]
        shared.cache.append_many(handles, tokens)
        self._mark(flight, checked)
        shared.complete(flight.number)
        self._store(flight, checked)
        shared.generated += len(tokens)
        for task, text in checked.texts:
            task.request.sent_chars += len(text)
        for task, _ in checked.ended:
            task.request.is_complete = True
        for task, _ in [*checked.ended, *checked.failed]:
            shared.end(task)
        ends, shared.ends = shared.ends, []
        return StepResult(
            requests=requests.tolist(),
            tokens=tokens,
            texts=[(task.request, text) for task, text in checked.texts],
            logprobs=[(task.request, logprobs) for task, logprobs in checked.logprobs],
            ended=[(task.request, ended) for task, ended in checked.ended],
            ended_here=ends,
            failed=[(task.request, error) for task, error in checked.failed],
            step_ns=report.get("step_ns", 0),
            idle_ns=report.get("idle_ns", 0),
        )

    def _mark(self, flight: Flight, checked: CheckedReport) -> None:
        """What was computed may be shared, but for what was given up or has failed."""
        handles, counts = flight.mark_handles, flight.mark_counts
        if flight.is_disturbed or checked.failed:
            unwanted = flight.gone | flight.void
            unwanted[[task.slot for task, _ in checked.failed]] = True
            keep = ~unwanted[flight.mark_slots]
            handles, counts = handles[keep], counts[keep]
        self._shared.cache.mark_computed_many(handles, counts)

    def _store(self, flight: Flight, checked: CheckedReport) -> None:
        """Give each request its token: into its row while it has one."""
        batch = self._shared.batch
        slots, tokens = flight.slots, checked.tokens
        kept = checked.kept
        for row in range(flight.num_decodes, len(slots)):
            request = flight.requests[row]
            if not request.first_token_ns and (kept is None or kept[row]):
                request.first_token_ns = self._shared.now_ns
        if kept is not None:
            left = flight.left[slots]
            for row in (left & kept).nonzero()[0].tolist():
                flight.requests[row].append(int(tokens[row]), self._shared.now_ns)
            kept = kept & ~left
            slots, tokens = slots[kept], tokens[kept]
        if len(slots):
            for task in batch.tasks_in_turn():
                self._shared.tell_service(task)
                task.request.empty_row()
            batch.take_tokens(slots, tokens, self._shared.now_ns)
