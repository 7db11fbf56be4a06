"""``python -m tests.simulator --seeds N [--seed S] [--verbose]``: the simulator, run long."""

from __future__ import annotations

import argparse
import sys
import time
import traceback

from tests.simulator.simulation import run_seed
from tests.simulator.violation import Violation

PROGRESS_EVERY = 1000  # seeds


def main() -> int:
    """Run the seeds; return 1 if one of them found something."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many seeds to run")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="run this one alone")
    parser.add_argument("--scale", type=float, default=1.0, help="length of each history")
    parser.add_argument("--verbose", action="store_true", help="print the whole history")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at a finding")
    options = parser.parse_args()
    seeds = range(options.first, options.first + options.seeds)
    chosen = [options.seed] if options.seed is not None else list(seeds)
    started, turns, events, findings = time.perf_counter(), 0, 0, 0
    for number, seed in enumerate(chosen):
        if number and number % PROGRESS_EVERY == 0:
            print(f"... {number} seeds, {findings} findings, {time.perf_counter() - started:.0f} s")
        try:
            result = run_seed(seed, scale=options.scale, verbose=options.verbose)
        except Violation as violation:
            findings += 1
            _report(seed, violation, verbose=options.verbose, brief=options.keep_going)
            if not options.keep_going:
                return 1
            continue
        turns, events = turns + result.turns, events + result.events
        if options.seed is not None:
            print(result)
    took = time.perf_counter() - started
    print(
        f"{len(chosen)} seeds, {findings} findings, {turns} kernel turns, {events} events, "
        f"{took:.1f} s, {events / took:.0f} events/s"
    )
    return 1 if findings else 0


def _report(seed: int, violation: Violation, *, verbose: bool, brief: bool) -> None:
    print(f"seed {seed}: {violation}"[: 400 if brief else None])
    if brief:
        return
    print("\n".join(violation.story if verbose else violation.story[-60:]))
    if violation.__cause__ is not None:
        traceback.print_exception(violation.__cause__)
    print(f"seed {seed}: {violation}")


if __name__ == "__main__":
    sys.exit(main())
