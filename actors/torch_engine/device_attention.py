"""A batch on any device, in torch operations alone: blocks are gathered, then attended to.

Sequences of one row (decodes) are computed together, stretches of prefill one by one. It holds
for every device that torch has, and is checked on CPU; on a GPU a kernel that reads the blocks
in place would be faster.

Cost: gathers num_sequences x longest keys and values a layer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from actors.torch_engine.attention import Scores
from actors.torch_engine.kv_store import KvStore

Ints = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Group:
    """Sequences with equally many rows, computed at once."""

    rows: torch.Tensor  # [sequence, row] of the packed batch
    positions: torch.Tensor  # [sequence, row]
    tables: torch.Tensor  # [sequence, block]


class DeviceAttention:
    """See the module head."""

    def __init__(self, store: KvStore) -> None:
        self._store = store
        self._groups: list[Group] = []
        self._slots = torch.empty(0)

    def begin(self, starts: Ints, lengths: Ints, tables: Ints) -> None:
        """Take the step's sequences: as ext/paged_attention.pyx ``begin``."""
        counts = np.diff(starts)
        singles = np.flatnonzero(counts == 1)
        parts = [singles] if len(singles) else []
        parts += [np.array([index]) for index in np.flatnonzero(counts > 1)]
        size = self._store.block_size
        self._groups, slots = [], np.empty(int(starts[-1]), np.int64)
        for which in parts:
            count = int(counts[which[0]])
            rows = starts[which][:, None].astype(np.int64) + np.arange(count)
            positions = lengths[which][:, None].astype(np.int64) - count + np.arange(count)
            used = -(-int(lengths[which].max()) // size)
            blocks = np.where(
                np.arange(used) < -(-lengths[which][:, None] // size), tables[which, :used], 0
            ).astype(np.int64)
            at = np.take_along_axis(blocks, positions // size, 1) * size + positions % size
            slots[rows] = at
            self._groups.append(Group(*map(self._tensor, (rows, positions, blocks))))
        self._slots = self._tensor(slots)

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, how: Scores
    ) -> torch.Tensor:
        """See actors.torch_engine.attention.Batch."""
        shape, store = self._store.shapes[layer], self._store
        keys, values = store.keys[layer], store.values[layer]
        keys.flatten(0, 1)[self._slots] = key[0].transpose(0, 1)
        values.flatten(0, 1)[self._slots] = value[0].transpose(0, 1)
        heads = (shape.num_heads, shape.value_dim)
        out = torch.empty((query.shape[2], *heads), dtype=query.dtype, device=query.device)
        for group in self._groups:
            result = _attend(
                query[0].transpose(0, 1)[group.rows],
                keys[group.tables].flatten(1, 2),
                values[group.tables].flatten(1, 2),
                group.positions,
                how,
            )
            out[group.rows] = result.to(out.dtype)
        return out[None]

    def _tensor(self, array: NDArray[np.int64]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._store.device)


def _attend(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, at: torch.Tensor, how: Scores
) -> torch.Tensor:
    """query [s, row, head, d], keys and values [s, token, kv head, d]; [s, row, head, d]."""
    heads, kv_heads = query.shape[2], keys.shape[2]
    token = torch.arange(keys.shape[1], device=keys.device)
    sees = token <= at[..., None]
    if how.window:
        sees &= token > at[..., None] - how.window
    grouped = query.unflatten(2, (kv_heads, heads // kv_heads)).permute(0, 2, 3, 1, 4)
    scores = torch.einsum("skgrd,stkd->skgrt", grouped.float(), keys.float()) * how.scale
    if how.softcap:
        scores = how.softcap * torch.tanh(scores / how.softcap)
    scores = scores.masked_fill(~sees[:, None, None], float("-inf"))
    if how.sinks is not None:
        sinks = how.sinks.float().view(1, kv_heads, -1, 1, 1).expand(*scores.shape[:-1], 1)
        weights = torch.cat([scores, sinks], -1).softmax(-1)[..., :-1]
    else:
        weights = scores.softmax(-1)
    # What lies behind a sequence's end is nobody's and may be no number.
    clean = torch.where((token <= at.max(-1).values[:, None])[..., None, None], values, 0)
    result = torch.einsum("skgrt,stkd->srkgd", weights, clean.float())
    return result.flatten(2, 3)
