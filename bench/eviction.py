"""Which blocks an eviction policy keeps: share of prompt tokens found, beside the optimum.

Question: how much more than LRU does a policy find that knows whose blocks are whose? Goals: on
the second half of the Mooncake conversation trace at least 1.5 times LRU's share with room for
1,000 and for 5,000 blocks of 512 tokens; nowhere below 0.98 of LRU's, also on generated loops,
scans and shifting popularity.
Run: python -m bench.eviction [--trace FILE] [--json] [--quick]
Without a trace it replays small generated ones only.

The policies learn as they go; the second half is judged with what the first has taught.
  found_P_C        share of the second half's tokens found by policy P with room for C blocks;
                   floor: LRU's, so the ratio is the goal's
  optimum_C        the same of the optimum that knows the future (Belady)
  found_P_T_C      the same on a generated trace T, all of it; `_shared`: each request is a program
                   of its own, so that nothing but the blocks tells who is alike
  us_evict         microseconds of processor time a request in the policy `due` (LRU's taken off)
                   with room for 5,000 blocks, 1,000 without a trace
  us_work_most     microseconds of the longest slice of learning in `due`, which is the most that a
                   step waits for it, with 3,000 programs away (least of 5 fits); goal: 500
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns, process_time_ns

import numpy as np

from bench.block_replay import (
    Chained,
    chained,
    loop_requests,
    replay_blocks,
    replay_optimum,
    scan_requests,
    shifting_requests,
)
from bench.report import Measurement, print_json, print_table
from bench.request_trace import conversation_of, read_requests
from kernel.policy.eviction_names import EVICTION_POLICIES, new_eviction_policy
from kernel.policy.reuse_fit import fit
from kernel.policy.reuse_traits import NUM_AGES, NUM_CELLS

CAPACITIES = (100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 40_000, 80_000)
QUICK_CAPACITIES = (1000, 5000)
GENERATED_CAPACITIES = (40, 100, 200, 400, 800, 1100, 1300, 2500)
AWAY = 3000  # programs whose next use is waited for, in a fit that is timed
FITS = 5
QUICK_SHARE = 5  # --quick generates this part of the requests
GENERATED: dict[str, Callable[[int], list[Chained]]] = {
    "loop": lambda part: loop_requests(shared=False, rounds=30 // part),
    "loop_shared": lambda part: loop_requests(shared=True, rounds=30 // part),
    "scan": lambda part: scan_requests(shared=False, number=3000 // part),
    "scan_shared": lambda part: scan_requests(shared=True, number=3000 // part),
    "shifting": lambda part: shifting_requests(shared=False, number=4000 // part),
    "shifting_shared": lambda part: shifting_requests(shared=True, number=4000 // part),
}


def measure_trace(requests: list[Chained], capacities: tuple[int, ...]) -> list[Measurement]:
    """Every policy and the optimum on a trace, second half."""
    found = []
    for capacity in capacities:
        share = {
            name: replay_blocks(requests, new_eviction_policy(name, capacity), capacity)
            for name in EVICTION_POLICIES
        }
        floor = share["lru"].second_half
        found += [
            Measurement(f"found_{name}_{capacity}", each.second_half, "share", floor)
            for name, each in share.items()
        ]
        best = replay_optimum(requests, capacity).second_half
        found.append(Measurement(f"optimum_{capacity}", best, "share", floor))
    return found


def measure_generated(capacities: tuple[int, ...], part: int) -> list[Measurement]:
    """Every policy on the generated traces, whole. part: how many times fewer requests."""
    found = []
    for trace, generate in GENERATED.items():
        requests = generate(part)
        for capacity in capacities:
            for name in EVICTION_POLICIES:
                policy = new_eviction_policy(name, capacity)
                share = replay_blocks(requests, policy, capacity).whole
                found.append(Measurement(f"found_{name}_{trace}_{capacity}", share, "share"))
    floors = {each.name: each.value for each in found}
    # A loop larger than the cache gives LRU nothing to divide by.
    return [
        Measurement(each.name, each.value, each.unit, floors[_of_lru(each.name)] or None)
        for each in found
    ]


def _of_lru(name: str) -> str:
    policy = next(known for known in EVICTION_POLICIES if name.startswith(f"found_{known}_"))
    return name.replace(f"found_{policy}_", "found_lru_", 1)


def microseconds(requests: list[Chained], capacity: int) -> Measurement:
    """What the policy costs a request, the replay's own work taken off."""

    def spent(name: str) -> int:
        started = process_time_ns()
        replay_blocks(requests, new_eviction_policy(name, capacity), capacity)
        return process_time_ns() - started

    per_request = (spent("due") - spent("lru")) / 1e3 / len(requests)
    return Measurement("us_evict", per_request, "us")


def slice_times() -> list[int]:
    """Nanoseconds of each slice of a fit."""
    numbers = np.random.default_rng(1)
    events, exposure = numbers.random((2, NUM_CELLS, NUM_AGES))
    cells, ages_s = numbers.integers(0, NUM_CELLS, AWAY), numbers.exponential(300, AWAY)
    begun = perf_counter_ns()
    times = []
    for _ in fit(events, exposure, cells, ages_s):
        ended = perf_counter_ns()
        times.append(ended - begun)
        begun = perf_counter_ns()
    return times


def longest_slice() -> Measurement:
    """The longest slice, each taken at its quickest: what else ran is not the fit's."""
    quickest = map(min, zip(*(slice_times() for _ in range(FITS)), strict=True))
    return Measurement("us_work_most", max(quickest) / 1e3, "us")


def main() -> None:
    parser = argparse.ArgumentParser(description="Which blocks an eviction policy keeps.")
    parser.add_argument("--trace", type=Path, help="Mooncake's JSON lines, plain or gzipped")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--quick", action="store_true", help="fewer sizes and shorter traces")
    options = parser.parse_args()
    sizes = GENERATED_CAPACITIES[3:4] if options.quick else GENERATED_CAPACITIES
    measurements = measure_generated(sizes, QUICK_SHARE if options.quick else 1)
    if options.trace:
        read = read_requests(options.trace)
        programs = [conversation_of(each, index) for index, each in enumerate(read)]
        requests = chained(read, programs)
        measurements += measure_trace(requests, QUICK_CAPACITIES if options.quick else CAPACITIES)
        measurements.append(microseconds(requests, 5000))
    else:
        measurements.append(microseconds(shifting_requests(shared=False, number=800), 1000))
    measurements.append(longest_slice())
    if options.json:
        print_json(measurements)
    else:
        print_table("KV eviction", measurements)


if __name__ == "__main__":
    main()
