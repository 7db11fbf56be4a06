"""Cost of scheduling and planning LLM steps in the kernel, with an engine that answers at once.

Question: what does a step cost the kernel before and after the engine's work? Budget: 100 us a
step at 256 running requests: making the plan, taking the report, stop checks and the row of tokens
included. A message's packing and unpacking (msgpack) is beside it, as `_wire_us`.

steady: all requests decode, nobody comes or goes.  churn: each step 1 of 64 running requests ends
and another is admitted (prompt of 48 tokens, one block of it cached).  The pipeline is as in life:
one plan is always ahead of the step that reports.

Run: python -m bench.llm_scheduler [--json] [--quick]
"""

from __future__ import annotations

import argparse
import gc
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter_ns
from typing import Any

import msgpack
import numpy as np

from bench.report import Measurement, print_json, print_table
from ipc.engine import Plan, Report
from kernel.llm.policies import priority
from kernel.llm.request import Request
from kernel.llm.scheduler import Scheduler

PROMPT = 48
LIFE = 64  # steps a request decodes for in churn
BUDGET_US = 100.0


class NullEngine:
    """Answers a plan at once: a token a row, and the end of requests at their limit."""

    def __init__(self, max_running: int) -> None:
        self.decoding = np.zeros(max_running, np.bool_)
        self.left = np.zeros(max_running, np.int64)
        self.limit = np.zeros(max_running, np.int64)
        self.known = np.zeros(max_running, np.int64)

    def step(self, plan: Plan) -> Report:
        for slot in ints(plan, "drop"):
            self.decoding[slot] = False
        for new in plan.get("add", ()):
            slot = new["slot"]
            self.limit[slot] = self.left[slot] = new["sampling"]["max_tokens"]
            self.known[slot] = len(new["ids"]) // 4
        self.decoding[ints(plan, "decode_off")] = False
        self.decoding[ints(plan, "decode_on")] = True
        rows = np.flatnonzero(self.decoding).tolist()
        for slot, start, count in np.array(ints(plan, "prefill")).reshape(-1, 3).tolist():
            if start + count == self.known[slot]:
                rows.append(slot)
        self.left[rows] -= 1
        left = self.left[rows]
        tokens = np.where(left < 0, -1, 7).astype("<i4")
        ended = [
            {"slot": rows[i], "reason": "length", "text": "", "tokens": int(self.limit[rows[i]])}
            for i in np.flatnonzero(left == 0).tolist()
        ]
        return {"plan": plan["plan"], "tokens": tokens.tobytes(), "ended": ended}  # type: ignore[typeddict-item]


def ints(plan: Plan, name: str) -> list[int]:
    data: bytes = plan.get(name, b"")  # type: ignore[assignment]
    return np.frombuffer(data, "<i4").tolist()


@dataclass
class Samples:
    """Nanoseconds of each step."""

    plan: list[int] = field(default_factory=list)
    report: list[int] = field(default_factory=list)
    wire: list[int] = field(default_factory=list)
    floor: list[int] = field(default_factory=list)


class Pipeline:
    """A scheduler that is kept full, and its engine, one plan ahead."""

    def __init__(self, num_running: int, life: Callable[[int], int]) -> None:
        self.scheduler = Scheduler(
            {
                "block_size": 16,
                "num_blocks": num_running * 300,
                "max_context": 8192,
                "max_running": num_running,
                "max_step_tokens": num_running + 512,
                "vocab_size": 32_000,
            },
            hash_key=bytes(16),
            policy=priority(),
            max_waiting=2 * num_running,
        )
        self.engine = NullEngine(num_running)
        self.plans: deque[Plan] = deque()
        self.life = life
        self.added = 0
        self.now_ns = 0
        for _ in range(num_running):
            self.add()

    def add(self) -> None:
        self.added += 1
        ids = np.full(PROMPT, self.added, np.int32)
        ids[:16] = 1  # a block that all share
        sampling: Any = {"max_tokens": self.life(self.added), "seed": 1}
        self.scheduler.add(Request(self.added, self.added % 8, ids, sampling=sampling), self.now_ns)

    def fill(self) -> None:
        """Until all run, and one plan is ahead."""
        while self.scheduler.statistics().waiting:
            self.step(None)
        for _ in range(4):
            self.step(None)

    def step(self, samples: Samples | None) -> None:
        """The step that runs reports, the kernel takes that and plans the one after the next."""
        while len(self.plans) < 2 and (plan := self.scheduler.plan(self.now_ns)) is not None:
            self.plans.append(plan)
        report = self.engine.step(self.plans.popleft())
        self.now_ns += 1_000_000
        started = perf_counter_ns()
        result = self.scheduler.report(report, self.now_ns)
        row = result.request_ids.tobytes(), result.tokens.tobytes()
        reported = perf_counter_ns()
        plan = self.scheduler.plan(self.now_ns)
        planned = perf_counter_ns()
        assert plan is not None
        packed = msgpack.packb(plan)
        msgpack.unpackb(msgpack.packb(report))
        done = perf_counter_ns()
        assert packed
        assert row
        self.plans.append(plan)
        if samples is not None:
            samples.report.append(reported - started)
            samples.plan.append(planned - reported)
            samples.wire.append(done - planned)
        for _ in result.ended:
            self.add()


def steady(_: int) -> int:
    return 4000


def churn(number: int) -> int:
    """Spread the first ends evenly, then each lives as long as all."""
    return LIFE if number > LIFE * 8 else LIFE // 2 + number % LIFE


def run(num_running: int, name: str, life: Callable[[int], int], steps: int) -> list[Measurement]:
    pipeline = Pipeline(num_running, life)
    pipeline.fill()
    for _ in range(min(steps, 2 * LIFE)):
        pipeline.step(None)
    samples = Samples()
    gc.collect()
    for _ in range(steps):
        pipeline.step(samples)
    both = [a + b for a, b in zip(samples.plan, samples.report, strict=True)]
    figures = {"plan": samples.plan, "report": samples.report, "step": both, "wire": samples.wire}
    found = [
        Measurement(
            f"llm_{name}_{num_running}_{part}_us",
            median(values) / 1000,
            "us",
            BUDGET_US if part == "step" else None,
        )
        for part, values in figures.items()
    ]
    worst = sorted(both)[int(len(both) * 0.99)] / 1000
    return [*found, Measurement(f"llm_{name}_{num_running}_step_p99_us", worst, "us")]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--quick", action="store_true", help="seconds; for the test suite")
    args = parser.parse_args()
    steps = 100 if args.quick else 3000
    measurements = [
        measurement
        for num_running in (64, 256)
        for name, life in (("steady", steady), ("churn", churn))
        for measurement in run(num_running, name, life, steps)
    ]
    if args.json:
        print_json(measurements)
    else:
        print_table("LLM scheduler (floor: the budget)", measurements)


if __name__ == "__main__":
    main()
