"""One server that serves slices in the order a policy says, through the real ready queue."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import dataclass, field

from ext.ready_queue import FloatReadyQueue
from kernel.policy.fair_share import FairShare
from kernel.policy.policy import Job, Policy

TOKEN_NS = 20_000_000


@dataclass(frozen=True, slots=True)
class Slice:
    """What was served: which job, how many tokens, from when on."""

    job: int
    tokens: int
    start_ns: int


def arrival(pair: tuple[Job, int]) -> int:
    return pair[0].arrival_ns


@dataclass
class Server:
    """Serves `work` (job, tokens). `slices` is the record of what it did.

    after: by a job's id, the job that comes when that one is done; its arrival is a gap from then.
    """

    policy: Policy
    work: Iterable[tuple[Job, int]]
    after: Mapping[int, tuple[Job, int]] = field(default_factory=dict)
    slices: list[Slice] = field(default_factory=list)
    done_ns: dict[int, int] = field(default_factory=dict)
    now_ns: int = 0

    def __post_init__(self) -> None:
        self.queue = FloatReadyQueue()
        self.jobs: dict[int, Job] = {}
        self.left: dict[int, int] = {}
        self.handles: dict[int, int] = {}

    def run(self, until_ns: int | None = None) -> Server:
        """Serve until nothing is left, or no slice begins before that time."""
        self.coming = sorted(self.work, key=arrival)
        while self.coming or self.handles:
            if not self.handles:
                self.now_ns = max(self.now_ns, self.coming[0][0].arrival_ns)
            while self.coming and self.coming[0][0].arrival_ns <= self.now_ns:
                self.admit(*self.coming.pop(0))
            if until_ns is not None and self.now_ns >= until_ns:
                break
            self.serve_one()
        return self

    def admit(self, job: Job, tokens: int) -> None:
        self.jobs[job.id], self.left[job.id] = job, tokens
        self.policy.on_arrival(job, self.now_ns)
        self.push(job)

    def push(self, job: Job) -> None:
        self.handles[job.id] = self.queue.push(self.policy.key(job, self.now_ns), job.id)

    def rekey(self) -> None:
        # An owner's jobs move together, and need not be named.
        is_by_owner = isinstance(self.policy, FairShare)
        for number in list(self.handles) if is_by_owner else self.policy.rekey(self.now_ns):
            if number in self.handles:
                key = self.policy.key(self.jobs[number], self.now_ns)
                self.queue.update(self.handles[number], key)
        stale = [
            number
            for number, handle in self.handles.items()
            if self.queue.entry(handle).key != self.policy.key(self.jobs[number], self.now_ns)
        ]
        assert stale == [], "keys changed that rekey did not name"

    def serve_one(self) -> None:
        self.rekey()
        number = self.queue.pop()
        del self.handles[number]
        job = self.jobs[number]
        tokens = min(self.policy.quantum_tokens(job) or self.left[number], self.left[number])
        self.slices.append(Slice(number, tokens, self.now_ns))
        self.now_ns += tokens * TOKEN_NS
        self.left[number] -= tokens
        self.policy.on_service(job, tokens, self.now_ns)
        if self.left[number]:
            self.push(job)
        else:
            self.policy.on_done(job, self.now_ns)
            self.done_ns[number] = self.now_ns
            self.follow(number)

    def follow(self, number: int) -> None:
        if number in self.after:
            job, tokens = self.after[number]
            job = copy(job)
            job.arrival_ns += self.now_ns
            insort(self.coming, (job, tokens), key=arrival)

    def order(self) -> list[int]:
        """The jobs in the order in which they were first served."""
        return list(dict.fromkeys(each.job for each in self.slices))
