"""Plays the kernel for a runner, in process: keeps blocks, makes plans, reads results.

It plans as ipc/engine.py says and in no clever way; what to do next is the test's choice, drawn
or written down. Each job is one request; its tokens are what the kernel would journal.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from actors.torch_engine.assembly import Assembled, build
from actors.torch_engine.loading import describe
from actors.torch_engine.settings import settings_of
from ipc.engine import NewRequest, Plan, Report
from tests.torch_engine.models import CONTEXT, paged_model


def int32(*values: int) -> bytes:
    """Return a plan's field."""
    return np.array(values, "<i4").tobytes()


def assembled(name: str, *, device_path: bool = False, tokenizer: Any = None, **spec: Any) -> Any:
    """Return what serves a tiny model. device_path: by torch operations alone."""
    fields: dict[str, Any] = {"name": name, "path": "-", "max_running": 16, "block_size": 4}
    settings = settings_of({**fields, "kv_bytes": 1 << 20, **spec})  # type: ignore[typeddict-item]
    loaded = describe(settings, paged_model(name), tokenizer, torch.device("cpu"))
    return build(settings, loaded)


@dataclass(eq=False)
class Job:
    """One request as the kernel sees it."""

    number: int
    ids: list[int]
    num_prompt: int
    sampling: dict[str, Any]
    stream: bool = False
    has_tools: bool = False
    text: str = ""
    slot: int | None = None
    blocks: list[int] = field(default_factory=list)
    host_blocks: list[int] | None = None
    computed: int = 0
    logprobs: list[Any] = field(default_factory=list)
    ended: Any = None
    error: Any = None

    @property
    def completion(self) -> list[int]:
        return self.ids[self.num_prompt :]

    @property
    def is_decoding(self) -> bool:
        return self.slot is not None and self.computed == len(self.ids) - 1


class Scheduler:
    """See the module head."""

    def __init__(self, engine: Assembled, num_blocks: int | None = None) -> None:
        self.engine = engine
        store = engine.runner.store
        self.size = store.block_size
        self.free = list(range(num_blocks or store.num_blocks))[::-1]
        self.free_host = list(range(store.num_host_blocks))[::-1]
        self.shared: dict[int, int] = {}  # block: how many hold it
        self.free_slots = list(range(len(engine.runner.slots.requests)))[::-1]
        self.plan = Plan(plan=1, reset=True)
        self.pending: dict[str, list[int]] = {}
        self.adds: list[NewRequest] = []
        self.decoding: set[int] = set()
        self.jobs: list[Job] = []
        self.reports: list[Report] = []

    # --- what a test may ask ----------------------------------------------------------------

    def submit(self, prompt: list[int], num: int = 8, **options: Any) -> Job:
        """Make a job; it waits for a slot."""
        fields = {key: options.pop(key) for key in ("stream", "has_tools") if key in options}
        sampling = {"max_tokens": num, "seed": 1, "ignore_stop_ids": True, **options}
        job = Job(len(self.jobs) + 1, list(prompt), len(prompt), sampling, **fields)
        self.jobs.append(job)
        return job

    def fork(self, parent: Job, num: int) -> Job:
        """Make a job that goes on from the parent's tokens, sharing its full blocks."""
        child = self.submit(parent.ids, num)
        self.share(child, parent, parent.computed)
        return child

    def share(self, job: Job, other: Job, tokens: int) -> None:
        """Let a waiting job begin with another's first tokens; a partial block is copied."""
        tokens = min(tokens, len(job.ids) - 1)
        full = tokens // self.size
        job.blocks = other.blocks[:full]
        for block in job.blocks:
            self.shared[block] = self.shared.get(block, 1) + 1
        if tokens % self.size:
            copy = self.free.pop()
            self.pending.setdefault("copy", []).extend((other.blocks[full], copy))
            job.blocks = [*job.blocks, copy]
        job.computed = tokens

    def admit(self, job: Job) -> None:
        """Give a waiting job a slot in the next plan."""
        job.slot = self.free_slots.pop()
        if job.host_blocks is not None:
            job.blocks = [self.free.pop() for _ in job.host_blocks]
            for host, block in zip(job.host_blocks, job.blocks, strict=True):
                self.pending.setdefault("copy_in", []).extend((host, block))
            self.free_host += job.host_blocks
            job.host_blocks = None
        new = NewRequest(
            slot=job.slot,
            request=job.number,
            ids=int32(*job.ids),
            num_prompt=job.num_prompt,
            sampling=job.sampling,  # type: ignore[typeddict-item]
            stream=job.stream,
            sent_chars=len(job.text),
            blocks=int32(*job.blocks),
            computed=job.computed,
            has_tools=job.has_tools,
        )
        self.adds.append(new)

    def preempt(self, job: Job) -> None:
        """Take a job's slot and blocks; it will be computed again."""
        self._leave_slot(job)
        self._release(job)
        job.computed = 0

    def swap_out(self, job: Job) -> None:
        """Take a job's slot; its blocks go to host memory."""
        self._leave_slot(job)
        job.host_blocks = [self.free_host.pop() for _ in job.blocks]
        for block, host in zip(job.blocks, job.host_blocks, strict=True):
            self.pending.setdefault("copy_out", []).extend((block, host))
        self._release(job)

    def step(self, prefill: list[tuple[Job, int]] = (), decode: list[Job] = ()) -> Report:  # type: ignore[assignment]
        """Compute these stretches and decode these jobs; take what comes of it."""
        chunks = [(job, min(count, len(job.ids) - job.computed)) for job, count in prefill]
        for job, count in chunks:
            self._reserve(job, job.computed + count)
        decode = sorted(decode, key=lambda job: job.slot or 0)
        for job in decode:
            self._reserve(job, len(job.ids))
        wanted = {job.slot for job in decode if job.slot is not None}
        plan = self._take_plan()
        plan["prefill"] = int32(
            *(v for job, count in chunks for v in (job.slot or 0, job.computed, count))
        )
        plan["decode_off"] = int32(*(self.decoding - wanted))
        plan["decode_on"] = int32(*(wanted - self.decoding))
        self.decoding = wanted
        report = self.engine.completions.report(self.engine.runner.run(plan))
        rows = list(decode)
        for job, count in chunks:
            job.computed += count
            if job.computed == len(job.ids):
                rows.append(job)
        for job in decode:
            job.computed += 1
        self._take(report, rows)
        return report

    def run_all(self, jobs: list[Job] | None = None, chunk: int = 1 << 20) -> None:
        """Go on, all jobs at once, until they have ended."""
        while open_jobs := [job for job in jobs or self.jobs if job.ended is None]:
            for job in open_jobs:
                if job.slot is None:
                    self.admit(job)
            prefill = [(job, chunk) for job in open_jobs if not job.is_decoding]
            self.step(prefill, [job for job in open_jobs if job.is_decoding])

    # --- parts --------------------------------------------------------------------------------

    def _take_plan(self) -> Plan:
        plan, number = self.plan, self.plan["plan"]
        plan["add"], self.adds = self.adds, []
        for name, values in self.pending.items():
            plan[name] = int32(*values)  # type: ignore[literal-required]
        self.pending = {}
        self.plan = Plan(plan=number + 1)
        return plan

    def _reserve(self, job: Job, tokens: int) -> None:
        while len(job.blocks) * self.size < tokens:
            job.blocks.append(self.free.pop())
            is_new = any(new["slot"] == job.slot for new in self.adds)
            if is_new:
                new = next(new for new in self.adds if new["slot"] == job.slot)
                new["blocks"] = int32(*job.blocks)
            else:
                self.pending.setdefault("blocks", []).extend((job.slot or 0, job.blocks[-1]))

    def _leave_slot(self, job: Job) -> None:
        assert job.slot is not None
        self.pending.setdefault("drop", []).append(job.slot)
        self.decoding.discard(job.slot)
        self.free_slots.insert(0, job.slot)
        job.slot = None

    def _release(self, job: Job) -> None:
        for block in job.blocks:
            self.shared[block] = self.shared.get(block, 1) - 1
            if not self.shared[block]:
                del self.shared[block]
                self.free.insert(0, block)
        job.blocks = []

    def _take(self, report: Report, rows: list[Job]) -> None:
        self.reports.append(report)
        tokens = np.frombuffer(report.get("tokens", b""), "<i4").tolist()
        assert len(tokens) == len(rows)
        of_slot = {job.slot: job for job in self.jobs if job.slot is not None}
        for job, token in zip(rows, tokens, strict=True):
            if token >= 0:
                job.ids.append(token)
        for slot, text in report.get("texts", ()):
            of_slot[slot].text += text
        for slot, entry in report.get("logprobs", ()):
            of_slot[slot].logprobs.append(entry)
        for ended in report.get("ended", ()):
            of_slot[ended["slot"]].ended = ended
        for failed in report.get("failed", ()):
            of_slot[failed["slot"]].error = of_slot[failed["slot"]].ended = failed["error"]
        for job in [job for job in of_slot.values() if job.ended is not None]:
            self._leave_slot(job)
            self._release(job)


LONGEST = CONTEXT - 1
