"""The paged attention kernel against row-by-row attention in float64."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ext.paged_attention import DTYPES, VALUE_ALIGNMENT, Layer, PagedAttention
from tests.reference.attention import attend_row
from tests.trials import trials

TOLERANCE = {"float32": 2e-5, "float16": 2e-3, "bfloat16": 2e-2}


def stored(array: Any, dtype: str) -> Any:
    """Return the bytes of this type, and see ``read`` for the way back."""
    if dtype == "bfloat16":
        return (np.asarray(array, np.float32).view(np.uint32) >> 16).astype(np.uint16)
    return np.asarray(array, dtype)


def read(array: Any, dtype: str) -> Any:
    if dtype == "bfloat16":
        return (array.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return array.astype(np.float64)


@dataclass
class Shape:
    heads: int = 4
    kv_heads: int = 2
    dim: int = 16
    value_dim: int = 16
    block_size: int = 16
    dtype: str = "float32"
    num_blocks: int = 64


class Pool:
    """One layer's pool, and sequences that grow in it as a model's would."""

    def __init__(self, shape: Shape, seed: int = 0) -> None:
        self.shape, self.random = shape, np.random.default_rng(seed)
        stride = -(-shape.value_dim // VALUE_ALIGNMENT) * VALUE_ALIGNMENT
        pages, size = shape.num_blocks * shape.kv_heads, shape.block_size
        # What nobody wrote must not matter: the pool begins as NaN, but for the padding.
        self.keys = stored(np.full((pages, shape.dim, size), np.nan), shape.dtype)
        values = np.full((pages, size, stride), np.nan)
        values[..., shape.value_dim :] = 0
        self.values = stored(values, shape.dtype)
        self.layer = Layer(
            key_pool=self.keys.ctypes.data,
            value_pool=self.values.ctypes.data,
            num_blocks=shape.num_blocks,
            num_heads=shape.heads,
            num_kv_heads=shape.kv_heads,
            head_dim=shape.dim,
            value_dim=shape.value_dim,
            value_stride=stride,
            block_size=size,
            dtype=DTYPES[shape.dtype],
        )

    def draw(self, rows: int, heads: int, dim: int) -> Any:
        return stored(self.random.normal(size=(rows, heads, dim)), self.shape.dtype)


class Batch:
    """Sequences with tables of blocks in random order."""

    def __init__(self, pool: Pool, lengths: list[int], threads: int = 2) -> None:
        self.pool, shape = pool, pool.shape
        self.attention = PagedAttention(num_threads=threads)
        free = list(pool.random.permutation(shape.num_blocks))
        most = max(-(-length // shape.block_size) for length in lengths)
        self.tables = np.zeros((len(lengths), most), np.int32)
        for row, length in enumerate(lengths):
            for column in range(-(-length // shape.block_size)):
                self.tables[row, column] = free.pop()
        self.keys = [np.zeros((0, shape.kv_heads, shape.dim)) for _ in lengths]
        self.values = [np.zeros((0, shape.kv_heads, shape.value_dim)) for _ in lengths]

    def step(self, which: list[int], rows: list[int], **options: Any) -> tuple[Any, Any]:
        """Run ``rows`` more tokens of each of these sequences; return result and reference."""
        pool, shape = self.pool, self.pool.shape
        total = sum(rows)
        query = pool.draw(total, shape.heads, shape.dim)
        key = pool.draw(total, shape.kv_heads, shape.dim)
        value = pool.draw(total, shape.kv_heads, shape.value_dim)
        out = np.zeros((total, shape.heads, shape.value_dim), query.dtype)
        starts = np.array([0, *np.cumsum(rows)], np.int32)
        expected = []
        for index, first, last in zip(which, starts, starts[1:], strict=False):
            self.keys[index] = np.vstack([self.keys[index], read(key[first:last], shape.dtype)])
            new = read(value[first:last], shape.dtype)
            self.values[index] = np.vstack([self.values[index], new])
            for row in range(first, last):
                seen = len(self.keys[index]) - (last - row - 1)
                expected.append(
                    attend_row(
                        read(query[row], shape.dtype),
                        self.keys[index][:seen],
                        self.values[index][:seen],
                        **options,
                    )
                )
        lengths = np.array([len(self.keys[index]) for index in which], np.int32)
        tables = np.ascontiguousarray(self.tables[which])
        self.attention.begin(starts, lengths, tables, shape.block_size, shape.num_blocks)
        sinks = options.pop("sinks", None)
        single = None if sinks is None else sinks.astype(np.float32)
        self.attention.attend(
            pool.layer,
            query.ctypes.data,
            key.ctypes.data,
            value.ctypes.data,
            out.ctypes.data,
            strides=(
                shape.dim,
                shape.dim * shape.heads,
                shape.dim,
                shape.dim * shape.kv_heads,
                shape.value_dim,
                shape.value_dim * shape.kv_heads,
            ),
            sinks=0 if single is None else single.ctypes.data,
            num_tokens=total,
            **options,
        )
        return read(out, shape.dtype), np.array(expected)


@pytest.mark.parametrize("dtype", list(DTYPES))
@pytest.mark.parametrize("block_size", [4, 8, 16, 32, 256])
def test_prefill_in_chunks_and_decoding_in_one_batch(dtype: str, block_size: int) -> None:
    shape = Shape(block_size=block_size, dtype=dtype, num_blocks=max(8, 1024 // block_size))
    batch = Batch(Pool(shape), [70, 33, 200])

    for which, rows in [([0, 1], [37, 20]), ([1, 2], [1, 150]), ([0, 1, 2], [1, 1, 33])]:
        result, expected = batch.step(which, rows, scale=0.25)

        assert np.abs(result - expected).max() < TOLERANCE[dtype]


shapes = st.builds(
    lambda group, kv_heads, dim, value_dim, block_size: Shape(
        group * kv_heads, kv_heads, dim, value_dim, block_size
    ),
    st.sampled_from([1, 2, 3, 8, 40]),
    st.integers(1, 3),
    st.sampled_from([1, 8, 24, 64, 128]),
    st.sampled_from([3, 16, 40, 128]),
    st.sampled_from([4, 16, 32]),
)


@settings(max_examples=trials(45), deadline=None)
@given(
    shape=shapes,
    rows=st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=4), min_size=1, max_size=3),
    softcap=st.sampled_from([0.0, 5.0]),
    window=st.sampled_from([0, 1, 7, 30]),
    has_sinks=st.booleans(),
)
def test_any_shape_and_batch_gives_what_row_by_row_attention_gives(
    shape: Shape, rows: list[list[int]], softcap: float, window: int, has_sinks: bool
) -> None:
    shape.num_blocks = 3 * 4 * 40 // shape.block_size + 3
    pool = Pool(shape)
    batch = Batch(pool, [sum(row) for row in rows])
    sinks = pool.random.normal(size=shape.heads) if has_sinks else None
    options = {"scale": 0.3, "softcap": softcap, "window": window, "sinks": sinks}

    for step in range(max(len(row) for row in rows)):
        which = [index for index, row in enumerate(rows) if step < len(row)]
        result, expected = batch.step(which, [rows[index][step] for index in which], **options)

        assert np.abs(result - expected).max() < 5e-5


def test_threads_change_nothing() -> None:
    results = []
    for threads in (1, 3):
        batch = Batch(Pool(Shape(num_blocks=200)), [900, 700, 400], threads)
        results.append(batch.step([0, 1, 2], [900, 700, 400], scale=0.25)[0])

    assert np.array_equal(results[0], results[1])


def test_a_table_that_leaves_the_pool_is_refused() -> None:
    attention = PagedAttention(num_threads=1)
    starts, lengths = np.array([0, 1], np.int32), np.array([17], np.int32)

    for block in (-1, 4):
        tables = np.array([[0, block]], np.int32)
        with pytest.raises(ValueError, match=f"block {block}"):
            attention.begin(starts, lengths, tables, 16, 4)


def test_a_sequence_longer_than_its_table_is_refused() -> None:
    attention = PagedAttention(num_threads=1)

    with pytest.raises(ValueError, match="1 rows of 33 tokens"):
        attention.begin(
            np.array([0, 1], np.int32),
            np.array([33], np.int32),
            np.array([[0, 1]], np.int32),
            16,
            4,
        )
