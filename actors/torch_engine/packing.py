"""A plan's work as one packed row of tokens: which, at which positions, of which sequences.

Decoding slots come first, in ascending order, one token each; then the prefill stretches in the
plan's order. Sampled rows are in the same order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from actors.torch_engine.slots import Slots

Ints = NDArray[np.int32]
Longs = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Packed:
    """What one forward pass computes. A sequence is a slot's part in it."""

    slots: Longs  # of each sequence
    starts: Ints  # (sequences + 1,) first row of each
    lengths: Ints  # tokens known of each after this step
    ids: Longs  # of each row
    positions: Longs  # of each row
    sampled: Longs  # sequences whose last row is sampled

    @property
    def rows(self) -> Longs:
        """Return the rows that are sampled."""
        return self.starts[self.sampled + 1].astype(np.int64) - 1


def prefill_rows(slots: Slots, prefill: Ints) -> NDArray[np.bool_]:
    """Say which stretches end with their slot's last known token. prefill: (n, 3)."""
    ends: NDArray[np.bool_] = prefill[:, 1] + prefill[:, 2] == slots.length[prefill[:, 0]]
    return ends


def pack(slots: Slots, decoding: Longs, prefill: Ints) -> Packed | None:
    """Return the step's rows, None if there are none. decoding: slots, ascending."""
    if not len(decoding) and not len(prefill):
        return None
    count = len(decoding)
    which = np.concatenate([decoding, prefill[:, 0]]).astype(np.int64)
    rows = np.concatenate([np.ones(count, np.int32), prefill[:, 2]])
    lengths = np.concatenate([slots.length[decoding], prefill[:, 1] + prefill[:, 2]])
    starts = np.zeros(len(which) + 1, np.int32)
    np.cumsum(rows, out=starts[1:])
    ids, positions = np.empty(starts[-1], np.int64), np.empty(starts[-1], np.int64)
    ids[:count], positions[:count] = slots.last[decoding], lengths[:count] - 1
    for (slot, start, num), at in zip(prefill.tolist(), starts[count:].tolist(), strict=False):
        request = slots.requests[slot]
        assert request is not None, f"prefill of the free slot {slot}"
        ids[at : at + num] = request.tokens[start : start + num]
        positions[at : at + num] = np.arange(start, start + num)
    ends = np.flatnonzero(prefill_rows(slots, prefill)) + count
    return Packed(
        which,
        starts,
        lengths.astype(np.int32),
        ids,
        positions,
        np.concatenate([np.arange(count), ends]).astype(np.int64),
    )
