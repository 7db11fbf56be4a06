"""Does the model compute through our blocks what the library's own attention computes?

Asked once, at load, with a few tokens in two stretches. It finds architectures whose attention
is more than the interface tells (position biases, masks of their own): those are refused, not
served wrongly.
"""

from __future__ import annotations

import numpy as np
import torch

from actors.torch_engine.attention import ATTENTION
from actors.torch_engine.loading import Loaded
from actors.torch_engine.packing import Packed
from actors.torch_engine.settings import Settings
from actors.torch_engine.step import Runner

TOKENS = 12
# Relative to the length of a row's logits. Half precision is coarse, and experts may be chosen
# otherwise for single rows: the median row counts.
TOLERANCE = {torch.float32: 1e-3}
COARSE = 0.1


def check(settings: Settings, loaded: Loaded, runner: Runner) -> float:
    """Return the relative difference of the median row.

    Raises:
        BadModelError: it is too large, or the library's own logits are not finite.
    """
    room = min(TOKENS, loaded.max_context, _room(runner))
    ids = np.random.default_rng(0).integers(0, loaded.vocab_size, room)
    with torch.inference_mode():
        expected = _reference(loaded, ids)
        found = torch.cat(
            [
                _through_blocks(runner, ids, part)
                for part in (slice(0, room // 2), slice(room // 2, room))
            ]
        )
    if not expected.isfinite().all():
        raise settings.problem(
            "its logits are not finite: its weights have NaN or infinite values, or are too large "
            f"for {str(loaded.dtype).removeprefix('torch.')}"
        )
    distance = (found.float() - expected.float()).norm(dim=-1)
    difference = float((distance / expected.float().norm(dim=-1).clamp_min(1e-9)).median())
    if not difference <= TOLERANCE.get(loaded.dtype, COARSE):
        raise settings.problem(
            f"{loaded.architecture} computes something else through paged attention "
            f"(relative difference {difference:.2g})"
        )
    return difference


def _room(runner: Runner) -> int:
    store = runner.store
    return store.num_blocks * store.block_size


def _reference(loaded: Loaded, ids: np.ndarray[tuple[int], np.dtype[np.int64]]) -> torch.Tensor:
    loaded.model.set_attn_implementation("eager")
    try:
        output = loaded.model(torch.from_numpy(ids).to(loaded.device)[None], use_cache=False)
    finally:
        loaded.model.set_attn_implementation(ATTENTION)
    logits: torch.Tensor = output.logits[0]
    return logits


def _through_blocks(
    runner: Runner, ids: np.ndarray[tuple[int], np.dtype[np.int64]], part: slice
) -> torch.Tensor:
    size = runner.store.block_size
    runner.slots.tables[0, : -(-len(ids) // size)] = np.arange(-(-len(ids) // size))
    rows = ids[part]
    packed = Packed(
        slots=np.zeros(1, np.int64),
        starts=np.array([0, len(rows)], np.int32),
        lengths=np.array([part.stop], np.int32),
        ids=rows,
        positions=np.arange(part.start, part.stop),
        sampled=np.zeros(1, np.int64),
    )
    return runner.forward(packed, np.arange(len(rows)))
