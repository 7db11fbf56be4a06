"""What a step's report changes: tokens, times, computed blocks, and who has ended.

Cost: bench/llm_scheduler.py; a step is a few calls of the KV cache and of the slots' rows, whatever
the number of requests, and some Python for each that ends. Only a step with somebody in it who has
left meanwhile, or fails, takes array operations over all rows.
"""

from __future__ import annotations

import numpy as np

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
        checked = check_report(report, flight, shared.batch.rows, shared.limits.vocab_size)
        shared.flights.popleft()
        return self._apply(flight, checked, report)

    def _apply(self, flight: Flight, checked: CheckedReport, report: Report) -> StepResult:
        shared = self._shared
        tokens, handles = checked.tokens, flight.handles
        ids, streams = flight.ids, flight.streams
        if (kept := checked.kept) is not None:
            tokens, handles, ids, streams = tokens[kept], handles[kept], ids[kept], streams[kept]
        if kept is None and flight.mark_handles is handles:
            shared.cache.advance_many(handles, tokens, flight.mark_counts)
        else:
            shared.cache.append_many(handles, tokens)
            self._mark(flight, checked)
        shared.complete(flight.number)
        self._store(flight, checked)
        shared.generated += len(tokens)
        for request, text in checked.texts:
            request.sent_chars += len(text)
        ended = []
        for task, end in checked.ended:
            task.request.is_complete = True
            ended.append((task.request, end))
        if ended:
            shared.end_all([task for task, _ in checked.ended])
        for task, _ in checked.failed:
            shared.end(task)
        ends, shared.ends = shared.ends, []
        return StepResult(
            request_ids=ids,
            streams=streams,
            tokens=tokens,
            texts=checked.texts,
            logprobs=checked.logprobs,
            ended=ended,
            ended_here=ends,
            failed=[(task.request, error) for task, error in checked.failed],
            step_ns=report.get("step_ns", 0),
            idle_ns=report.get("idle_ns", 0),
        )

    def _mark(self, flight: Flight, checked: CheckedReport) -> None:
        """What was computed may be shared, but for what was given up or has failed."""
        handles, counts = flight.mark_handles, flight.mark_counts
        if checked.kept is not None:
            unwanted = flight.gone | flight.void | {task.slot for task, _ in checked.failed}
            keep = ~np.isin(flight.mark_slots, list(unwanted))
            handles, counts = handles[keep], counts[keep]
        self._shared.cache.mark_computed_many(handles, counts)

    def _store(self, flight: Flight, checked: CheckedReport) -> None:
        """Give each request its token: into its row while it has one."""
        batch, now_ns = self._shared.batch, self._shared.now_ns
        slots, tokens, kept = flight.slots, checked.tokens, checked.kept
        for row, task in enumerate(flight.sampled, flight.num_decodes):
            if not task.request.first_token_ns and (kept is None or kept[row]):
                task.request.first_token_ns = now_ns
        if kept is not None:
            left = flight.rows_of(flight.left)
            for row in (left & kept).nonzero()[0].tolist():
                former = flight.holders[int(slots[row])]
                assert former is not None
                former.request.append(int(tokens[row]), now_ns)
            kept = kept & ~left
            slots, tokens = slots[kept], tokens[kept]
        if len(slots):
            for task in batch.tasks_in_turn():
                self._shared.tell_service(task)
                if batch.rows.is_due(task.slot):
                    task.request.empty_row()
            batch.rows.push(slots, tokens, now_ns)
