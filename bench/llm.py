"""``llmos bench llm``: completions through the kernel, beside what they replace.

Question: what do 64 clients get who ask at once, compared with calling ``transformers`` oneself;
and what does the kernel take for it? Sizes: ``small`` is a random Llama of 5M parameters,
``medium`` of 100M. Goals are in bench/goals.py. Every run of a peer is a process of its own
(bench/llm_engine.py); runs alternate, figures are medians.

Run: llmos bench llm [--quick] [--json] [--plot FILE]
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median

from rich.console import Console

from bench.goals import verdict
from bench.llm_engine import flops, in_process
from bench.llm_kernel import LlmWorld, llm_world
from bench.llm_peer import NAME as LLAMA_CPP
from bench.llm_scheduler import run, steady
from bench.llm_workload import MODELS, workload
from bench.plot import draw
from bench.report import Measurement, alternate, print_json, print_table

PEERS = ("one by one", "padded", "generate_batch", LLAMA_CPP, "matrix rate")
SHARE = 8  # one-by-one and padded runs take a part of the requests
SCHEDULER_STEPS = 400
FIGURES = (
    "tokens_per_s",
    "vs_one_by_one",
    "vs_llama_cpp",
    "gflops",
    "first_token_cached_ms",
    "urgent_steps",
    "kernel_cpu_percent",
)
NAMES = ("llm_steady_256_step_us", *(f"llm_{size}_{name}" for size in MODELS for name in FIGURES))


def main(arguments: list[str]) -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="llmos bench llm", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the small model alone, one run each")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--plot", metavar="FILE", type=Path, help="draw the ratios, as a PNG")
    options = parser.parse_args(arguments)
    repeats = 1 if options.quick else 3
    with Console(stderr=True).status("the scheduler alone") as status:
        found = run(256, "steady", steady, SCHEDULER_STEPS)
        for size in ("small",) if options.quick else MODELS:
            status.update(f"the {size} model, and its peers")
            found += measure(size, repeats)
    if options.plot:
        draw(found, options.plot)
    if options.json:
        print_json(found)
    else:
        print_table("llmos bench llm", found, verdict=verdict)
    return 0


def measure(size: str, repeats: int) -> list[Measurement]:
    """Return the figures of one size."""
    shares: list[float] = []
    with llm_world(size) as world:

        def serve() -> float:
            rate, share = world.serve()
            shares.append(share)
            return rate

        runs: dict[str, Callable[[], float]] = {"ours": serve}
        runs |= {name: _peer(name, size) for name in PEERS}
        medians = alternate(runs, repeats)
        found = _rates(size, medians) + _latencies(world, repeats)
    share = Measurement(f"llm_{size}_kernel_cpu_percent", 100 * median(shares), "%")
    return [*found, share]


def _peer(name: str, size: str) -> Callable[[], float]:
    return lambda: in_process(name, size, SHARE)


def _rates(size: str, medians: dict[str, float]) -> list[Measurement]:
    ours, unit = medians["ours"], "tokens/s"
    batched = [medians[name] for name in ("padded", "generate_batch")]
    best = max((rate for rate in batched if not math.isnan(rate)), default=math.nan)
    outputs = sum(work.output for work in workload(int(MODELS[size]["vocab_size"])))
    reached = flops(size) / (outputs / ours) / 1e9
    peers = {"vs_one_by_one": medians["one by one"], "vs_llama_cpp": medians[LLAMA_CPP]}
    return [
        Measurement(f"llm_{size}_tokens_per_s", ours, unit, best),
        *(
            Measurement(f"llm_{size}_{name}", ours, unit, rate)
            for name, rate in peers.items()
            if not math.isnan(rate)  # one that is not installed
        ),
        Measurement(f"llm_{size}_gflops", reached, "GFLOP/s", medians["matrix rate"]),
    ]


def _latencies(world: LlmWorld, repeats: int) -> list[Measurement]:
    pairs = [world.first_token() for _ in range(repeats + 1)][1:]
    cached, uncached = (median(values) for values in zip(*pairs, strict=True))
    name = f"llm_{world.size}"
    urgent = median(world.urgent() for _ in range(repeats))
    return [
        Measurement(f"{name}_first_token_cached_ms", cached, "ms", uncached),
        Measurement(f"{name}_urgent_steps", urgent, "steps"),
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
