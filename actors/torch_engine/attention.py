"""Attention of ``transformers`` models over our blocks.

The library calls a function registered by name for each layer. The running step's batch is in a
context variable, not in a keyword of ``model.forward``: some architectures hand keywords on to
their attention, some do not. No mask function is registered, on purpose: then the library builds
no mask and passes None; a batch knows who sees what. The batch's ``attend`` stores the step's
keys and values and returns [1, token, head, value_dim].
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AttentionInterface

from actors.torch_engine.kv_store import KvStore
from actors.torch_engine.team import team_address
from ext import paged_attention
from ext.paged_attention import PagedAttention

ATTENTION = "llmos_paged"  # the name it is registered under

Ints = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Scores:
    """How a layer's scores are made."""

    scale: float
    window: int = 0  # tokens seen, the own included; 0: all
    softcap: float = 0.0
    sinks: torch.Tensor | None = None  # one a head


class Batch(Protocol):
    """The sequences of one step."""

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, how: Scores
    ) -> torch.Tensor:
        """query, key, value: [1, head, token, dim]."""
        ...


_RUNNING: ContextVar[Batch] = ContextVar("running_batch")


@contextmanager
def running(batch: Batch) -> Iterator[None]:
    """Let the forward pass inside attend to this batch."""
    token = _RUNNING.set(batch)
    try:
        yield
    finally:
        _RUNNING.reset(token)


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attend as the step's batch says; see the module head."""
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    how = Scores(scale, sliding_window or 0, softcap or 0.0, s_aux)
    layer: Any = module.layer_idx
    return _RUNNING.get().attend(layer, query, key, value, how), None


def register() -> None:
    """Make the function known to ``transformers``."""
    AttentionInterface.register(ATTENTION, attend)


class CpuAttention:
    """A batch on a CPU: ext/paged_attention.pyx."""

    def __init__(self, store: KvStore, num_threads: int) -> None:
        self._store = store
        self._kernel = PagedAttention(num_threads=num_threads, team=team_address())
        dtype = paged_attention.DTYPES[str(store.dtype).removeprefix("torch.")]
        self._layers = {
            layer: paged_attention.Layer(
                key_pool=store.keys[layer].data_ptr(),
                value_pool=store.values[layer].data_ptr(),
                num_blocks=store.num_blocks,
                num_heads=shape.num_heads,
                num_kv_heads=shape.num_kv_heads,
                head_dim=shape.head_dim,
                value_dim=shape.value_dim,
                value_stride=shape.value_stride,
                block_size=store.block_size,
                dtype=dtype,
            )
            for layer, shape in store.shapes.items()
        }

    def begin(self, starts: Ints, lengths: Ints, tables: Ints) -> None:
        """Take the step's sequences; see ext/paged_attention.pyx."""
        self._kernel.begin(starts, lengths, tables, self._store.block_size, self._store.num_blocks)

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, how: Scores
    ) -> torch.Tensor:
        """See Batch."""
        query, key, value = _rows(query), _rows(key), _rows(value)
        tokens, dim = query.shape[2], self._store.shapes[layer].value_dim
        out = torch.empty((1, tokens, query.shape[1], dim), dtype=query.dtype)
        sinks = None if how.sinks is None else how.sinks.float().contiguous()
        self._kernel.attend(
            self._layers[layer],
            query.data_ptr(),
            key.data_ptr(),
            value.data_ptr(),
            out.data_ptr(),
            strides=(*query.stride()[1:3], *key.stride()[1:3], *value.stride()[1:3]),
            scale=how.scale,
            softcap=how.softcap,
            window=how.window,
            sinks=0 if sinks is None else sinks.data_ptr(),
            num_tokens=tokens,
        )
        return out


def _rows(tensor: torch.Tensor) -> torch.Tensor:
    return tensor if tensor.stride(3) == 1 else tensor.contiguous()
