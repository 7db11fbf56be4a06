"""Cost of the ready queue against heapq, sortedcontainers and std::priority_queue, in one run.

Question: does a scheduler pay more than plain C++ would make it pay? Budget, as ratios of medians:
mixed operations by single calls at most 0.5 of heapq with lazy deletion at 1e3 entries and 0.25 at
1e5 and 1e6, and 0.2 of sortedcontainers; pop + push in batches of 256 at most 1.5 of
std::priority_queue at 1e3 and 1e5 and 2 at 1e6.

A round of the mixed workload is a pop, a push of what was popped, and an update of a random entry.
The i-th round gives keys i + uniform[0, 2n), so that the queue stays at n and keys advance as
virtual time does. All three implementations must pop the same items, or the bench fails.

Run: python -m bench.ready_queue [--json] [--quick]
"""

from __future__ import annotations

import argparse
import gc
import subprocess
import tracemalloc
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from pathlib import Path
from time import perf_counter_ns

import numpy as np
from sortedcontainers import SortedList

from bench.floor_build import build_floor
from bench.report import Measurement, alternate, print_json, print_table
from ext.ready_queue import IntReadyQueue

BATCH = 256
OPERATIONS = 3  # of a mixed round
FLOOR_ENTRY_BYTES = 24  # key, arrival and handle, as in floors/ready_queue.cpp

Rounds = list[tuple[int, int, int]]  # key to push, item to update, its key


class Ours:
    def __init__(self, keys: list[int]) -> None:
        self.queue = IntReadyQueue()
        self.handles = [self.queue.push(key, item) for item, key in enumerate(keys)]

    def mixed(self, rounds: Rounds, popped: list[int]) -> None:
        handles, queue = self.handles, self.queue
        pop, push, update = queue.pop, queue.push, queue.update
        for key, moved, moved_key in rounds:
            item = pop()
            handles[item] = push(key, item)
            update(handles[moved], moved_key)
            popped.append(item)


class LazyHeap:
    """As heapq's documentation advises: updated entries stay behind, skipped when popped."""

    def __init__(self, keys: list[int]) -> None:
        self.current = [(key, item, item) for item, key in enumerate(keys)]
        self.arrivals = len(keys)
        self.heap = self.current.copy()
        heapify(self.heap)

    def mixed(self, rounds: Rounds, popped: list[int]) -> None:
        heap, current, arrival = self.heap, self.current, self.arrivals
        for key, moved, moved_key in rounds:
            entry = heappop(heap)
            item = entry[2]
            while current[item] is not entry:
                entry = heappop(heap)
                item = entry[2]
            entry = current[item] = (key, arrival, item)
            heappush(heap, entry)
            arrival += 1
            entry = current[moved] = (moved_key, current[moved][1], moved)
            heappush(heap, entry)
            popped.append(item)
        self.arrivals = arrival


class Sorted:
    def __init__(self, keys: list[int]) -> None:
        self.current = [(key, item, item) for item, key in enumerate(keys)]
        self.arrivals = len(keys)
        self.entries = SortedList(self.current)

    def mixed(self, rounds: Rounds, popped: list[int]) -> None:
        current, arrival = self.current, self.arrivals
        pop, add, remove = self.entries.pop, self.entries.add, self.entries.remove
        for key, moved, moved_key in rounds:
            item = pop(0)[2]
            entry = current[item] = (key, arrival, item)
            add(entry)
            arrival += 1
            remove(current[moved])
            entry = current[moved] = (moved_key, current[moved][1], moved)
            add(entry)
            popped.append(item)
        self.arrivals = arrival


class Mixed:
    """One implementation under the mixed workload, segment after segment of the same history."""

    def __init__(self, make: type[Ours] | type[LazyHeap] | type[Sorted], size: int) -> None:
        self.random = np.random.default_rng(size)
        self.size, self.done = size, 0
        self.subject = make(self.random.integers(0, 2 * size, size).tolist())
        self.popped: list[int] = []

    def segment(self, rounds: int) -> Rounds:
        base = np.arange(self.done, self.done + rounds)
        self.done += rounds
        pushed, moved = (base + self.random.integers(0, 2 * self.size, rounds) for _ in range(2))
        items = self.random.integers(0, self.size, rounds)
        return list(zip(pushed.tolist(), items.tolist(), moved.tolist(), strict=True))

    def run(self, rounds: int) -> float:
        segment = self.segment(rounds)
        start = perf_counter_ns()
        self.subject.mixed(segment, self.popped)
        return (perf_counter_ns() - start) / (rounds * OPERATIONS)


def measure_mixed(size: int, rounds: int, repeats: int) -> list[Measurement]:
    subjects = {"ours": Ours, "heapq": LazyHeap, "sortedcontainers": Sorted}
    histories = {name: Mixed(make, size) for name, make in subjects.items()}
    median = alternate({n: lambda h=h: h.run(rounds) for n, h in histories.items()}, repeats)
    if any(history.popped != histories["ours"].popped for history in histories.values()):
        raise RuntimeError("the implementations disagree about the order")
    return [
        Measurement(f"mixed_single_{size}_vs_{peer}", median["ours"], "ns/operation", median[peer])
        for peer in ("heapq", "sortedcontainers")
    ]


def batch_run(size: int, pairs: int) -> Callable[[], float]:
    random = np.random.default_rng(size)
    queue = IntReadyQueue()
    queue.push_many(random.integers(0, 2 * size, size), np.arange(size, dtype=np.uint64))
    done = 0

    def run() -> float:
        nonlocal done
        keys = np.arange(done, done + pairs) + random.integers(0, 2 * size, pairs)
        done += pairs
        batches = keys.reshape(-1, BATCH)
        start = perf_counter_ns()
        for batch in batches:
            queue.push_many(batch, queue.pop_many(BATCH))
        return (perf_counter_ns() - start) / pairs

    return run


def floor_run(program: Path, size: int, pairs: int) -> float:
    command = [str(program), str(size), str(pairs), str(BATCH), "1"]
    return float(
        subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[0]
    )


def measure_batch(size: int, pairs: int, repeats: int) -> Measurement:
    program = build_floor("ready_queue")
    runs = {"ours": batch_run(size, pairs), "floor": lambda: floor_run(program, size, pairs)}
    median = alternate(runs, repeats)
    name = f"batch_{size}_vs_priority_queue"
    return Measurement(name, median["ours"], "ns/pop+push", median["floor"])


def measure_memory(size: int) -> Measurement:
    """Bytes an entry as the allocator counts them, for a queue made full by one batch."""
    keys, items = np.zeros(size, dtype=np.int64), np.arange(size, dtype=np.uint64)
    queue = IntReadyQueue()
    tracemalloc.start()
    handles = queue.push_many(keys, items)
    taken = tracemalloc.get_traced_memory()[0] - handles.nbytes
    tracemalloc.stop()
    return Measurement(f"memory_{size}", taken / size, "bytes/entry", FLOOR_ENTRY_BYTES)


def measure(quick: bool) -> list[Measurement]:
    sizes, repeats, rounds = [1_000, 100_000, 1_000_000], 7, 60_000
    if quick:
        sizes, repeats, rounds = [1_000], 3, 5_000
    pairs = rounds * 4 // BATCH * BATCH
    gc.disable()  # as timeit does: the peers' tuples would pay for it, not we
    measurements = [each for size in sizes for each in measure_mixed(size, rounds, repeats)]
    measurements += [measure_batch(size, pairs, repeats) for size in sizes]
    return [*measurements, measure_memory(sizes[-1])]


def main() -> None:
    parser = argparse.ArgumentParser(description="Cost of the ready queue.")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument(
        "--quick", action="store_true", help="1,000 entries only, about two seconds"
    )
    options = parser.parse_args()
    measurements = measure(options.quick)
    if options.json:
        print_json(measurements)
    else:
        print_table("ready queue", measurements)


if __name__ == "__main__":
    main()
