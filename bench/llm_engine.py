"""Output tokens a second of the torch engine's runner against the library it stands on, on a CPU.

Question: what does a machine's owner gain over calling ``transformers`` himself? No kernel takes
part: plans come from the simplest scheduler (first come first served, chunks of prefill beside all
decodes, 512 tokens a step). Budget, for random Llamas and 64 requests with prompts of 32 to 512 and
outputs of 16 to 128 tokens: 5M parameters at least 5 times one-by-one ``generate`` and 2.5 times
the better of ``generate_batch`` and padded batches of 16; 100M at least 2.5 times one-by-one and
half of the machine's own fp32 matrix rate (2 x parameters without tables x all tokens + 2 x head x
sampled rows).

Each run is a process of its own, so that thread teams do not meet and what hangs can be killed;
runs alternate. One-by-one and padded runs take the first requests only (``--share``).

Run: python -m bench.llm_engine [--model small|medium] [--repeats 3] [--share 4] [--json]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from typing import Any

import numpy as np

from actors.torch_engine.worker import BRIEF_SPIN
from bench import llm_peer
from bench.llm_workload import MODELS, REQUESTS, STEP_TOKENS, Work, make_model, workload
from bench.report import Measurement, alternate, print_json, print_table

BATCH = 16
BLOCK = 16
PAGE, PAGES = 128, 400  # of generate_batch: of 32 and 128 tokens a page, the quicker
TIMEOUT_S = 600


def run_ours(size: str, share: int) -> float:
    """Serve all requests; return output tokens a second."""
    import torch

    from actors.torch_engine.assembly import build
    from actors.torch_engine.loading import describe
    from actors.torch_engine.settings import settings_of

    settings = settings_of({"name": size, "path": "-", "max_running": REQUESTS})
    loaded = describe(settings, make_model(size, "eager"), None, torch.device("cpu"))
    engine = build(settings, loaded)
    works = workload(loaded.vocab_size)
    serve(engine, works[:4])
    began = time.perf_counter()
    serve(engine, works)
    return sum(work.output for work in works) / (time.perf_counter() - began)


def serve(engine: Any, works: list[Work]) -> None:
    """Play the simplest kernel until all requests have ended."""
    adds, block = [], 0
    for slot, work in enumerate(works):
        need = -(-(len(work.ids) + work.output) // BLOCK)
        sampling = {"max_tokens": work.output, "seed": 0, "ignore_stop_ids": True}
        new = {"slot": slot, "request": slot, "ids": np.array(work.ids, "<i4").tobytes()}
        blocks = np.arange(block, block + need, dtype="<i4").tobytes()
        rest = {"num_prompt": len(work.ids), "sampling": sampling, "blocks": blocks}
        adds.append({**new, **rest, "stream": False, "sent_chars": 0, "computed": 0})
        block += need
    plan: dict[str, Any] = {"plan": 1, "reset": True, "add": adds}
    computed, running, left = [0] * len(works), 0, len(works)
    while left:
        budget, chunks, on = STEP_TOKENS - running, [], []
        for slot, work in enumerate(works):
            count = min(budget, len(work.ids) - computed[slot])
            if count > 0:
                chunks += [slot, computed[slot], count]
                computed[slot] += count
                budget -= count
                on += [slot] if computed[slot] == len(work.ids) else []
        plan["prefill"] = np.array(chunks, "<i4").tobytes()
        report = engine.completions.report(engine.runner.run(plan))
        off = [ended["slot"] for ended in report.get("ended", ())]
        running += len(on) - len(off)
        left -= len(off)
        plan = {"plan": plan["plan"] + 1, "decode_on": np.array(on, "<i4").tobytes()}
        plan["drop"] = np.array(off, "<i4").tobytes()


def run_one_by_one(size: str, share: int) -> float:
    """``generate`` for each request."""
    import torch

    model = make_model(size, "sdpa")
    works = workload(model.config.vocab_size)
    with torch.inference_mode():
        _generate(model, works[:1])
        some = works[: REQUESTS // share]
        began = time.perf_counter()
        for work in some:
            _generate(model, [work])
    return sum(work.output for work in some) / (time.perf_counter() - began)


def run_padded(size: str, share: int) -> float:
    """``generate`` for batches of 16, padded on the left, as long as the longest."""
    import torch

    model = make_model(size, "sdpa")
    works = workload(model.config.vocab_size)
    with torch.inference_mode():
        _generate(model, works[:1])
        some = works[: max(BATCH, REQUESTS // share)]
        began = time.perf_counter()
        for first in range(0, len(some), BATCH):
            _generate(model, some[first : first + BATCH])
    return sum(work.output for work in some) / (time.perf_counter() - began)


def _generate(model: Any, works: list[Work]) -> None:
    import torch

    longest = max(len(work.ids) for work in works)
    ids = torch.zeros((len(works), longest), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, work in enumerate(works):
        ids[row, longest - len(work.ids) :] = torch.tensor(work.ids)
        mask[row, longest - len(work.ids) :] = 1
    most = max(work.output for work in works)
    model.generate(
        ids,
        attention_mask=mask,
        max_new_tokens=most,
        min_new_tokens=most,
        do_sample=False,
        pad_token_id=0,
    )


def run_generate_batch(size: str, share: int) -> float:
    """The library's own continuous batching; all outputs have the mean length.

    Its pool and its batches are sized for it: what it infers by itself on a CPU took more than a
    minute for two requests, since a step's mask has a column for each token of the pool. It gets a
    part of the requests; with all 64 at once its rate was the same (80 and 83 tokens a second).
    """
    from transformers import ContinuousBatchingConfig, GenerationConfig

    model = make_model(size, "sdpa")
    works = workload(model.config.vocab_size)[: max(BATCH, REQUESTS // share)]
    mean = sum(work.output for work in works) // len(works)
    config = GenerationConfig(max_new_tokens=mean, do_sample=False, eos_token_id=-1, pad_token_id=0)
    sizes = ContinuousBatchingConfig(page_size=PAGE, num_blocks=PAGES, max_batch_tokens=STEP_TOKENS)

    def answer(some: list[Work]) -> None:
        prompts = [work.ids for work in some]
        model.generate_batch(prompts, generation_config=config, continuous_batching_config=sizes)

    answer(works[:2])
    began = time.perf_counter()
    answer(works)
    return mean * len(works) / (time.perf_counter() - began)


def run_matrix_rate(size: str, share: int) -> float:
    """The machine's own: GFLOP/s of a 1024-cube product."""
    import torch

    left, right = torch.randn(1024, 1024), torch.randn(1024, 1024)
    samples = []
    for _ in range(12):
        began = time.perf_counter()
        torch.mm(left, right)
        samples.append(2 * 1024**3 / (time.perf_counter() - began) / 1e9)
    return sorted(samples)[len(samples) // 2]


def run_llama_cpp(size: str, share: int) -> float:
    """llama.cpp, see bench/llm_peer.py."""
    return llm_peer.run(size)


RUNS = {
    "ours": run_ours,
    llm_peer.NAME: run_llama_cpp,
    "one by one": run_one_by_one,
    "padded": run_padded,
    "generate_batch": run_generate_batch,
    "matrix rate": run_matrix_rate,
}


def in_process(name: str, size: str, share: int) -> float:
    """Run one in a process of its own; not a number if it hangs or fails, or is not installed."""
    if name == llm_peer.NAME and (absent := llm_peer.missing()):
        print(f"{name} is left out: {' and '.join(absent)} missing", file=sys.stderr)
        return float("nan")
    command = [sys.executable, "-m", "bench.llm_engine", "--only", name]
    command += ["--model", size, "--share", str(share)]
    # As in the engine's own process; the others run as whoever calls the library has them.
    environment = {**os.environ, **dict([BRIEF_SPIN])} if name == "ours" else None
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=TIMEOUT_S, check=True, env=environment
        )
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as problem:
        print(f"{name}: {problem}", file=sys.stderr)
        return float("nan")
    return float(done.stdout.split()[-1])


def flops(size: str) -> float:
    """Return what the workload takes, by the head's formula."""
    model = make_model(size, "eager")
    head = model.lm_head.weight.numel()
    body = model.num_parameters() - head  # the tables are tied
    works = workload(model.config.vocab_size)
    tokens = sum(len(work.ids) + work.output - 1 for work in works)
    return float(2 * body * tokens + 2 * head * sum(work.output for work in works))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=MODELS, default="small")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--share", type=int, default=4)
    parser.add_argument("--skip", action="append", default=[], choices=RUNS)
    parser.add_argument("--only", choices=RUNS)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if args.only:
        print(RUNS[args.only](args.model, args.share))
        return
    names = [name for name in RUNS if name not in args.skip]
    runs = {name: lambda name=name: in_process(name, args.model, args.share) for name in names}
    medians = alternate(runs, args.repeats)
    ours = medians["ours"]
    outputs = sum(work.output for work in workload(MODELS[args.model]["vocab_size"]))
    reached = flops(args.model) / (outputs / ours) / 1e9
    rate = medians.pop("matrix rate", float("nan"))
    measurements = [
        Measurement(f"{args.model}: ours", ours, "output tokens/s"),
        Measurement("arithmetic, floor: the machine's", reached, "GFLOP/s", rate),
        *(
            Measurement(f"ours, floor: {name}", ours, "output tokens/s", value)
            for name, value in medians.items()
            if name != "ours"
        ),
    ]
    if args.json:
        print_json(measurements)
    else:
        print_table("torch engine", measurements)


if __name__ == "__main__":
    main()
