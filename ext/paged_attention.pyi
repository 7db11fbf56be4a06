"""Doors of the paged attention kernel; ext/paged_attention.pyx has the contract."""

import numpy as np
from numpy.typing import NDArray

DTYPES: dict[str, int]
VALUE_ALIGNMENT: int
BLOCK_ALIGNMENT: int

class Layer:
    def __init__(
        self,
        *,
        key_pool: int,
        value_pool: int,
        num_blocks: int,
        num_heads: int,
        num_kv_heads: int,
        head_dim: int,
        value_dim: int,
        value_stride: int,
        block_size: int,
        dtype: int,
    ) -> None: ...

class PagedAttention:
    def __init__(self, *, num_threads: int, team: int = 0) -> None: ...
    def begin(
        self,
        starts: NDArray[np.int32],
        lengths: NDArray[np.int32],
        tables: NDArray[np.int32],
        block_size: int,
        num_blocks: int,
    ) -> None: ...
    def attend(
        self,
        layer: Layer,
        query: int,
        key: int,
        value: int,
        out: int,
        *,
        strides: tuple[int, int, int, int, int, int],
        scale: float,
        softcap: float = 0.0,
        window: int = 0,
        sinks: int = 0,
        num_tokens: int,
    ) -> None: ...
