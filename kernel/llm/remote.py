"""The queues of remote models: one a model version, so that its limits hold for all agents.

They outlive engines: what waits for an endpoint waits whichever process is to call it. What is
booked of an endpoint's minute outlives the kernel too: it is journaled with the loop turn that
books it, so before the call leaves (kernel/llm/endpoint_limits.py has the row).

Cost: one row of at most 1 KB a loop turn in which a call of a limited endpoint begins or ends.
"""

from __future__ import annotations

from collections.abc import Mapping

from ipc.llm import LlmInput, ModelSpec
from kernel.llm.endpoint_limits import Limits
from kernel.llm.job import Job
from kernel.llm.prompt_estimate import estimate_tokens
from kernel.llm.registry import ModelVersion
from kernel.llm.remote_queue import RemoteQueue, RemoteRequest
from kernel.records import Rows
from kernel.state import KernelState


class RemoteQueues:
    """See the module head."""

    def __init__(self, state: KernelState) -> None:
        self.state = state
        self.queues: dict[ModelVersion, RemoteQueue] = {}
        self.jobs: dict[int, Job] = {}  # waiting or sent
        self.dirty: dict[ModelVersion, None] = {}

    def add(self, job: Job, given: LlmInput) -> None:
        """Let a job wait for its endpoint. Raises PromptTooLongError."""
        tokens = estimate_tokens(given) + job.sampling["max_tokens"]
        request = RemoteRequest(job.id, tokens, job.priority, job.accepted_ns, job.owner)
        self.queue(job.model).add(request, self.state.now_ns)
        self.jobs[job.id] = job
        self.dirty[job.model] = None

    def queue(self, model: ModelVersion) -> RemoteQueue:
        """Return a model's queue."""
        if model not in self.queues:
            self.queues[model] = RemoteQueue(limits_of(model.spec))
        return self.queues[model]

    def save(self, model: ModelVersion) -> None:
        """Journal what was booked of a model's limits since the last time."""
        book = self.queue(model).book
        if not book.is_unsaved:
            return
        key, changes = (model.name, model.version), self.state.output.changes
        row = book.to_row(self.state.wall_ns - self.state.now_ns)
        if row is None:
            changes.delete("llm_window", key)
        else:
            changes.put("llm_window", key, (row,))

    def load(self, rows: Rows, models: Mapping[tuple[str, int], ModelVersion]) -> None:
        """Take what the kernel before had booked."""
        offset_ns = self.state.wall_ns - self.state.now_ns
        for key, (row,) in rows.items():
            model = models.get(key)
            if model is None:
                self.state.output.changes.delete("llm_window", key)
            else:
                self.queue(model).book.restore(row, offset_ns, self.state.now_ns)

    def raise_priority(self, job: Job) -> None:
        """A job has become more urgent."""
        if job.id in self.jobs:
            self.queue(job.model).raise_priority(job.id, job.priority)
            self.dirty[job.model] = None

    def cancel(self, job: Job) -> bool:
        """Forget a job; say whether an engine must be told."""
        if self.jobs.pop(job.id, None) is None:
            return False
        self.dirty[job.model] = None
        return self.queue(job.model).cancel(job.id, self.state.now_ns)

    def settle(self, job: Job, used_tokens: int | None) -> None:
        """A sent job has ended. used_tokens: None if nobody can say."""
        if self.jobs.pop(job.id, None) is not None:
            self.queue(job.model).settle(job.id, used_tokens, self.state.now_ns)
            self.dirty[job.model] = None


def limits_of(spec: ModelSpec) -> Limits:
    """Return what an endpoint may be asked for at once."""
    return Limits(
        concurrency=spec.get("concurrency", 8),
        requests_per_minute=spec.get("requests_per_minute", 0),
        tokens_per_minute=spec.get("tokens_per_minute", 0),
    )
