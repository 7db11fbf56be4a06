"""What it costs to compute a token again, and to move a block: by these the kernel chooses.

Measured at load, in a fraction of a second.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch

from actors.torch_engine.kv_store import KvStore
from actors.torch_engine.packing import Packed
from actors.torch_engine.step import Runner

REPEATS = 4  # the first warms up
MAX_TOKENS = 128
MAX_BLOCKS = 16
ENOUGH_NS = 500_000_000  # a slow model is measured once


def recompute_ns_per_token(runner: Runner, max_step_tokens: int) -> float:
    """Return what prefill of one token takes, in a stretch of many."""
    store = runner.store
    tokens = min(MAX_TOKENS, max_step_tokens, runner.slots.max_context)
    tokens = min(tokens, store.num_blocks * store.block_size)
    blocks = -(-tokens // store.block_size)
    runner.slots.tables[0, :blocks] = np.arange(blocks)
    packed = Packed(
        slots=np.zeros(1, np.int64),
        starts=np.array([0, tokens], np.int32),
        lengths=np.array([tokens], np.int32),
        ids=np.zeros(tokens, np.int64),
        positions=np.arange(tokens),
        sampled=np.zeros(1, np.int64),
    )
    with torch.inference_mode():
        return _measure(lambda: runner.forward(packed, packed.rows)) / tokens


def swap_ns_per_block(store: KvStore) -> float:
    """Return what one block takes from the device to the host."""
    count = min(MAX_BLOCKS, store.num_blocks)
    which = np.arange(count)
    with torch.inference_mode():

        def move() -> None:
            for layers in (store.keys, store.values):
                for tensor in layers.values():
                    tensor[torch.from_numpy(which).to(tensor.device)].cpu()

        return _measure(move) / count


def _measure(work: Callable[[], object]) -> float:
    samples: list[int] = []
    for _ in range(REPEATS):
        began = time.perf_counter_ns()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        samples.append(time.perf_counter_ns() - began)
        if sum(samples) > ENOUGH_NS:
            break
    return float(min(samples))  # what is slower was disturbed by others
