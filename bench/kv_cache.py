"""Truth and cost of the KV-cache allocator, on a trace of real requests.

Questions: does the prefix cache find what a production engine's manager finds, and what does a call
cost beside plain C++ that does the same replay (bench/floors/kv_cache.cpp)?
Run: python -m bench.kv_cache [--trace FILE] [--json] [--quick]
Without a trace it replays a small generated one: good to see that it runs, not for figures.

Each replay plans, computes and frees the trace's requests in order, with up to 1,024 of them open
ahead, as a scheduler's waiting requests are; the floor has read them all. Timed are the scheduler's
calls (plan, mark_computed, free). Opening a request, which hashes, compares and stores its tokens,
is measured apart (`ingest_*`); the floor is given content ids and has no such part.
  hit_B_C                   share of input tokens found with B tokens a block and room for C x 512
                            tokens; its floor column is the C++ program's share
  us_per_request_512        three calls for each request; ns_per_block_16 is the same with 16
  ns_per_block_512_batched  three calls for each 64 requests, the floor in groups of 64 too;
                            not at 1,000, where 64 requests do not fit
  plan_256_us               plan_many for 256 running requests, one token each, 16-token blocks
  hash_mtok_s               digests() of 16-token blocks
  ingest_mtok_s_B           open(): hash, table and storage of new content
Costs are means over the replays at all four capacities; with _C appended, of one.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter_ns

import numpy as np

from bench.floor_build import build_floor
from bench.kv_trace import (
    TOKENS_PER_ID,
    TracedRequest,
    generate_trace,
    read_trace,
    write_floor_file,
)
from bench.report import Measurement, alternate, print_json, print_table
from ext.kv_cache import KVCache

CAPACITIES = {"1000": 1000, "5000": 5000, "20000": 20_000, "unlimited": 200_000}
OPEN_AHEAD = 1024
BATCH = 64
ROOM_FOR_A_BATCH = 5000  # 64 requests of the trace at once do not fit into 1,000 x 512 tokens
WHOLE_PROMPT = 1 << 30
HASH_KEY = b"the bench's key!"


@dataclass(frozen=True, slots=True)
class Replay:
    """Totals of one replay."""

    nanoseconds: int  # in the scheduler's calls
    ingest_ns: int  # in open()
    requests: int
    blocks: int
    input_tokens: int
    hit_tokens: int

    @property
    def hit_share(self) -> float:
        return self.hit_tokens / self.input_tokens


def new_cache(block_size: int, num_blocks: int) -> tuple[KVCache, int]:
    cache = KVCache(
        block_size=block_size,
        num_device_blocks=num_blocks,
        hash_key=HASH_KEY,
        max_requests=OPEN_AHEAD,
        max_tokens_per_request=1 << 17,
    )
    return cache, cache.add_owner()


def serve_single(cache: KVCache, handles: list[int], shareable: list[int]) -> tuple[int, int]:
    """Serve requests one by one; returns nanoseconds and tokens found."""
    found = 0
    started = perf_counter_ns()
    for handle, tokens in zip(handles, shareable, strict=True):
        start, _ = cache.plan(handle, WHOLE_PROMPT)
        if tokens > start:
            cache.mark_computed(handle, tokens - start)
        cache.free(handle)
        found += start
    return perf_counter_ns() - started, found


def serve_batch(cache: KVCache, handles: list[int], shareable: list[int]) -> tuple[int, int]:
    """Serve requests together, as one step would; returns nanoseconds and tokens found."""
    requests = np.array(handles, np.int64)
    limits = np.full(len(handles), WHOLE_PROMPT, np.int32)
    tokens = np.array(shareable, np.int32)
    started = perf_counter_ns()
    planned = cache.plan_many(requests, limits)
    computed = np.maximum(tokens - planned.starts, 1)
    cache.mark_computed_many(requests, computed)
    cache.free_many(requests)
    return perf_counter_ns() - started, int(planned.starts.sum())


def replay(
    requests: list[TracedRequest], block_size: int, capacity: int, *, batched: bool = False
) -> Replay:
    """Run the trace through a new allocator with room for `capacity` x 512 tokens."""
    cache, owner = new_cache(block_size, capacity * TOKENS_PER_ID // block_size)
    serving = ingesting = found = 0
    for first in range(0, len(requests), OPEN_AHEAD):
        group = requests[first : first + OPEN_AHEAD]
        token_arrays = [request.tokens() for request in group]
        started = perf_counter_ns()
        handles = [cache.open(owner, tokens) for tokens in token_arrays]
        ingesting += perf_counter_ns() - started
        shareable = [request.shareable_tokens for request in group]
        size = BATCH if batched else OPEN_AHEAD
        serve = serve_batch if batched else serve_single
        for start in range(0, len(group), size):
            part = slice(start, start + size)
            spent, hit = serve(cache, handles[part], shareable[part])
            serving += spent
            found += hit
    blocks = sum(-(-request.input_tokens // block_size) for request in requests)
    tokens = sum(request.input_tokens for request in requests)
    return Replay(serving, ingesting, len(requests), blocks, tokens, found)


def replay_floor(
    file: Path, num_requests: int, block_size: int, capacity: int, batch: int
) -> Replay:
    """The same in C++."""
    arguments = [file, block_size, capacity * TOKENS_PER_ID // block_size, batch]
    output = subprocess.run(
        [build_floor("kv_cache"), "replay", *map(str, arguments)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    nanoseconds, blocks, tokens, hit = map(int, output.split())
    return Replay(nanoseconds, 0, num_requests, blocks, tokens, hit)


@dataclass(frozen=True, slots=True)
class Pair:
    """Medians of alternating replays, ours and the floor's, at one capacity."""

    ours: Replay
    ours_ns: float
    ingest_ns: float
    floor: Replay
    floor_ns: float


def measure_pair(
    requests: list[TracedRequest],
    file: Path,
    block_size: int,
    capacity: int,
    batch: int,
    repeats: int,
) -> Pair:
    """Alternate our replay and the floor's; both must find the same tokens."""
    last: dict[str, Replay] = {}
    ingests: list[int] = []

    def run_ours() -> float:
        last["ours"] = replay(requests, block_size, capacity, batched=batch > 1)
        ingests.append(last["ours"].ingest_ns)
        return last["ours"].nanoseconds

    def run_floor() -> float:
        last["floor"] = replay_floor(file, len(requests), block_size, capacity, batch)
        return last["floor"].nanoseconds

    medians = alternate({"ours": run_ours, "floor": run_floor}, repeats)
    if last["ours"].hit_tokens != last["floor"].hit_tokens:
        raise AssertionError(f"the floor found {last['floor'].hit_tokens} tokens, not {last}")
    return Pair(last["ours"], medians["ours"], median(ingests), last["floor"], medians["floor"])


def cost(
    name: str, unit: str, pairs: dict[str, Pair], count: str, scale: float
) -> list[Measurement]:
    """The cost per `count` over all capacities, then at each."""
    everything = [(name, list(pairs.values()))] + [
        (f"{name}_{capacity}", [pair]) for capacity, pair in pairs.items()
    ]
    return [
        Measurement(
            label,
            sum(p.ours_ns for p in group) / sum(getattr(p.ours, count) for p in group) / scale,
            unit,
            sum(p.floor_ns for p in group) / sum(getattr(p.floor, count) for p in group) / scale,
        )
        for label, group in everything
    ]


def measure_trace(requests: list[TracedRequest], repeats: int) -> list[Measurement]:
    """Every figure that needs the trace."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trace.bin"
        write_floor_file(requests, file)

        def pairs(block_size: int, batch: int) -> dict[str, Pair]:
            return {
                name: measure_pair(requests, file, block_size, capacity, batch, repeats)
                for name, capacity in CAPACITIES.items()
                if batch == 1 or capacity >= ROOM_FOR_A_BATCH
            }

        by_size = {512: pairs(512, 1), 16: pairs(16, 1)}
        batched = pairs(512, BATCH)
    hits = [
        Measurement(f"hit_{size}_{name}", pair.ours.hit_share, "share", pair.floor.hit_share)
        for size, measured in by_size.items()
        for name, pair in measured.items()
    ]
    ingest = [
        Measurement(
            f"ingest_mtok_s_{size}",
            sum(p.ours.input_tokens for p in measured.values())
            * 1e3
            / sum(p.ingest_ns for p in measured.values()),
            "Mtoken/s",
        )
        for size, measured in by_size.items()
    ]
    return [
        *hits,
        *cost("us_per_request_512", "us", by_size[512], "requests", 1e3),
        *cost("ns_per_block_16", "ns", by_size[16], "blocks", 1),
        *cost("ns_per_block_512_batched", "ns", batched, "blocks", 1),
        *ingest,
    ]


def plan_step_us(block_size: int = 16, running: int = 256, steps: int = 400) -> float:
    """Median microseconds of plan_many for `running` requests in decode."""
    cache, owner = new_cache(block_size, running * (steps // block_size + 3))
    handles = [cache.open(owner, np.full(1 + j % block_size, j, np.int32)) for j in range(running)]
    requests = np.array(handles, np.int64)
    planned = cache.plan_many(requests, np.full(running, WHOLE_PROMPT, np.int32))
    cache.mark_computed_many(requests, planned.num_tokens)
    ones = np.ones(running, np.int32)
    times = []
    for _ in range(steps):
        cache.append_many(requests, ones)
        started = perf_counter_ns()
        cache.plan_many(requests, ones)
        times.append(perf_counter_ns() - started)
        cache.mark_computed_many(requests, ones)
    return median(times) / 1e3


def plan_step_floor_us() -> float:
    command = [str(build_floor("kv_cache")), "decode", "16", "256", "400"]
    return int(subprocess.run(command, check=True, capture_output=True).stdout) / 1e3


def hash_rate(num_tokens: int = 1 << 20) -> float:
    """Millions of tokens hashed a second, 16 a block."""
    cache, _ = new_cache(16, 1)
    tokens = np.arange(num_tokens, dtype=np.int32)
    started = perf_counter_ns()
    cache.digests(tokens)
    return num_tokens * 1e3 / (perf_counter_ns() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description="Truth and cost of the KV-cache allocator.")
    parser.add_argument(
        "--trace", type=Path, help="JSON lines, plain or gzipped; without it a generated one"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--quick", action="store_true", help="one run of each, not three")
    options = parser.parse_args()
    repeats = 1 if options.quick else 3
    trace = read_trace(options.trace) if options.trace else generate_trace()

    steps = alternate({"plan": plan_step_us, "floor": plan_step_floor_us}, 9)
    measurements = [
        *measure_trace(trace, repeats),
        Measurement("plan_256_us", steps["plan"], "us", steps["floor"]),
        Measurement("hash_mtok_s", alternate({"hash": hash_rate}, 9)["hash"], "Mtoken/s"),
    ]
    if options.json:
        print_json(measurements)
    else:
        print_table("KV-cache allocator", measurements)


if __name__ == "__main__":
    main()
