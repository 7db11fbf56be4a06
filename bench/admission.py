"""Admission by what is known and by what is expected to come: preemptions, and what they cost.

Question: how many fewer requests give way when admission counts the predicted lengths of those who
run (kernel/llm/growth.py), and what does that cost in throughput? Replayed in the lab on `gpu-8b`
with a small pool and no host tier, first come first served: 50 to 300 prompt tokens, answers of
some hundreds (lognormal, by one of six call sites with habits of their own), all queued at once.
Callers allow 3,000 tokens: nobody but the predictor knows how long an answer will be.
Run: python -m bench.admission [--json] [--quick]

  preemptions          of all requests; floor: by what is known
  tokens_per_s         output tokens a second of the engine's time; floor: by what is known
  completion_s         mean, from arrival to the last token; floor: by what is known
  us_growth            microseconds of processor time a request more, in the replay: the guess, the
                       lesson and the looks at who runs
"""

from __future__ import annotations

import argparse
import random
from dataclasses import replace
from statistics import fmean
from time import process_time_ns

from bench.lab.call import Call
from bench.lab.engine_model import engine_model
from bench.lab.replay import History, Recorded, Replay
from bench.report import Measurement, print_json, print_table
from kernel.llm.scheduler import Admission

NUM_CALLS, QUICK_CALLS = 2_000, 250
NUM_BLOCKS = 1_500
MOST_TOKENS = 3_000
MEDIAN_TOKENS, SPREAD = 500, 0.7
NUM_SITES = 6


def calls_of(number: int, seed: int = 1) -> list[Call]:
    """Return calls of sites whose answers have a length of their own."""
    numbers = random.Random(seed)
    habits = [MEDIAN_TOKENS * numbers.lognormvariate(0, 0.8) for _ in range(NUM_SITES)]
    found = []
    for index in range(number):
        site = numbers.randrange(NUM_SITES)
        output = round(habits[site] * numbers.lognormvariate(0, SPREAD))
        found.append(
            Call(
                number=index,
                arrival_ns=index * 10_000_000,
                prompt_tokens=numbers.randint(50, 300),
                output_tokens=min(max(output, 1), MOST_TOKENS),
                program=index + 1,
                owner=index % 16 + 1,
                call_site=f"site {site}",
            )
        )
    return found


def replayed(calls: list[Call], admission: Admission) -> tuple[History, int]:
    """Return what became of the calls, and the processor time of the replay in ns."""
    model = replace(engine_model("gpu-8b"), num_blocks=NUM_BLOCKS, num_host_blocks=0)
    started = process_time_ns()
    replay = Replay(Recorded(calls), model, "fcfs", admission=admission, max_tokens=MOST_TOKENS)
    return replay.run(), process_time_ns() - started


def figures(history: History) -> list[tuple[str, float, str]]:
    tokens = sum(each.call.output_tokens for each in history.outcomes)
    completion_ns = fmean(each.completion_ns for each in history.outcomes)
    return [
        ("preemptions", float(history.preemptions), "requests"),
        ("tokens_per_s", tokens / history.busy_ns * 1e9, "tokens/s"),
        ("completion_s", completion_ns / 1e9, "s"),
    ]


def measured(number: int) -> list[Measurement]:
    calls = calls_of(number)
    known, known_ns = replayed(calls, "known")
    expected, expected_ns = replayed(calls, "expected")
    return [
        *(
            Measurement(name, value, unit, floor or None)
            for (name, value, unit), (_, floor, _) in zip(
                figures(expected), figures(known), strict=True
            )
        ),
        Measurement("us_growth", max(expected_ns - known_ns, 0) / 1e3 / number, "us"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Admission by what is expected to come.")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--quick", action="store_true", help="fewer requests")
    options = parser.parse_args()
    measurements = measured(QUICK_CALLS if options.quick else NUM_CALLS)
    if options.json:
        print_json(measurements)
    else:
        print_table("Admission", measurements)


if __name__ == "__main__":
    main()
