"""Keys and values of all layers, in blocks, on the device and in host memory.

The kernel alone decides what each block is; this holds the memory and moves it. Block is the
first dimension of every tensor, so moving knows nothing of the layout behind it:

    on a CPU    as ext/paged_attention.h wants it
    elsewhere   keys [block, token, kv head, head_dim], values [block, token, kv head, value_dim]

Memory is zero at first; on a CPU, pages take memory once they are written.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray

from ext.paged_attention import VALUE_ALIGNMENT

Pairs = NDArray[np.int32]
CPU_LAYOUT = frozenset({"cpu"})  # kinds of devices whose blocks the C kernel reads


@dataclass(frozen=True, slots=True)
class LayerShape:
    """What one attention layer keeps a token."""

    num_heads: int
    num_kv_heads: int
    head_dim: int
    value_dim: int

    @property
    def value_stride(self) -> int:
        """Return value_dim up to the alignment of the CPU kernel."""
        return -(-self.value_dim // VALUE_ALIGNMENT) * VALUE_ALIGNMENT

    def key_size(self, block_size: int) -> tuple[int, ...]:
        """Return the dimensions of a block of keys on a CPU."""
        return (self.num_kv_heads, self.head_dim, block_size)

    def value_size(self, block_size: int) -> tuple[int, ...]:
        """Return the dimensions of a block of values on a CPU."""
        return (self.num_kv_heads, block_size, self.value_stride)

    def floats(self, block_size: int) -> int:
        """Return how many numbers a block has."""
        return self.num_kv_heads * block_size * (self.head_dim + self.value_stride)


class KvStore:
    """See the module head. Layers are numbered as the model numbers them."""

    def __init__(
        self,
        shapes: dict[int, LayerShape],
        *,
        block_size: int,
        num_blocks: int,
        num_host_blocks: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.shapes = shapes
        self.block_size = block_size
        self.num_blocks = num_blocks
        self.num_host_blocks = num_host_blocks
        self.dtype = dtype
        self.device = device
        cpu = torch.device("cpu")
        self.keys, self.values = self._allocate(num_blocks, device)
        self._host = [*self._allocate(num_host_blocks, cpu)] if num_host_blocks else [{}, {}]

    @property
    def block_bytes(self) -> int:
        """Return what one block takes, all layers."""
        return block_bytes(self.shapes, self.block_size, self.dtype)

    def copy_out(self, pairs: Pairs) -> None:
        """Copy device blocks to host blocks."""
        self._move([self.keys, self.values], self._host, pairs)

    def copy_in(self, pairs: Pairs) -> None:
        """Copy host blocks to device blocks."""
        self._move(self._host, [self.keys, self.values], pairs)

    def copy(self, pairs: Pairs) -> None:
        """Copy device blocks to device blocks, as if one after the other."""
        tensors = [self.keys, self.values]
        for part in _independent(pairs):
            self._move(tensors, tensors, part)

    def _allocate(
        self, blocks: int, device: torch.device
    ) -> tuple[dict[int, torch.Tensor], dict[int, torch.Tensor]]:
        keys, values = {}, {}
        for layer, shape in self.shapes.items():
            key, value = shape.key_size(self.block_size), shape.value_size(self.block_size)
            if self.device.type not in CPU_LAYOUT:
                key = (self.block_size, shape.num_kv_heads, shape.head_dim)
                value = (self.block_size, shape.num_kv_heads, shape.value_dim)
            keys[layer] = _zeros((blocks, *key), self.dtype, device)
            values[layer] = _zeros((blocks, *value), self.dtype, device)
        return keys, values

    def _move(
        self,
        source: list[dict[int, torch.Tensor]],
        target: list[dict[int, torch.Tensor]],
        pairs: Pairs,
    ) -> None:
        if not len(pairs):
            return
        # int64 by copy: the pairs may be a view of bytes that nobody may write
        which = torch.from_numpy(pairs.astype(np.int64))
        for from_layers, to_layers in zip(source, target, strict=True):
            for layer, tensor in from_layers.items():
                to = to_layers[layer]
                rows = tensor[which[:, 0].to(tensor.device)]
                to[which[:, 1].to(to.device)] = rows.to(to.device)


def block_bytes(shapes: dict[int, LayerShape], block_size: int, dtype: torch.dtype) -> int:
    """Return what one block takes, all layers."""
    return sum(shape.floats(block_size) for shape in shapes.values()) * int(dtype.itemsize)


def _zeros(size: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    if device.type != "cpu":
        return torch.zeros(size, dtype=dtype, device=device)
    # torch.zeros writes every page; numpy asks for pages that are zero once they are touched.
    data = np.zeros(prod(size) * dtype.itemsize, np.uint8)
    return torch.from_numpy(data).view(dtype).view(size)


def _independent(pairs: Pairs) -> list[Pairs]:
    """Cut the pairs where a block is read that was written before."""
    cuts: list[int] = [0]
    written: set[int] = set()
    for index, (source, target) in enumerate(pairs.tolist()):
        if source in written:
            cuts.append(index)
            written = set()
        written.add(target)
    return [pairs[first:last] for first, last in pairwise([*cuts, len(pairs)])]
