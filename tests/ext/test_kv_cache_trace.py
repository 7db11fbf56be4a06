"""A generated trace with a known answer, replayed as bench/kv_cache.py replays the real one.

Six conversations of growing turns come round robin. The answer is computed here by hand: in a turn
the whole blocks of all earlier turns of its conversation are found while the cache is large enough
to keep them all; when it holds one conversation only, nothing is.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from bench.kv_cache import BATCH, replay
from bench.kv_trace import TOKENS_PER_ID, TracedRequest, read_trace

CONVERSATIONS, TURNS, BLOCKS_A_TURN, TAIL = 6, 4, 3, 100


def generated_trace() -> list[dict[str, object]]:
    lines = []
    for turn in range(1, TURNS + 1):
        for conversation in range(CONVERSATIONS):
            blocks = turn * BLOCKS_A_TURN
            ids = [conversation * 1000 + i for i in range(blocks)]
            tail = 500_000 + conversation * TURNS + turn  # the partial block of this turn only
            lines.append(
                {
                    "timestamp": 0,
                    "input_length": blocks * TOKENS_PER_ID + TAIL,
                    "output_length": 1,
                    "hash_ids": [*ids, tail],
                }
            )
    return lines


def known_hits() -> int:
    """Each turn but the first finds the whole blocks of the turn before."""
    return CONVERSATIONS * sum(turn * BLOCKS_A_TURN * TOKENS_PER_ID for turn in range(1, TURNS))


@pytest.fixture(params=["plain", "gzip"])
def trace(request: pytest.FixtureRequest, tmp_path: Path) -> list[TracedRequest]:
    text = "\n".join(json.dumps(line) for line in generated_trace()).encode()
    path = tmp_path / "trace.jsonl"
    path.write_bytes(gzip.compress(text) if request.param == "gzip" else text)
    return read_trace(path)


@pytest.mark.parametrize("block_size", [16, 64, 512])
def test_a_large_cache_finds_all_earlier_turns(trace: list[TracedRequest], block_size: int) -> None:
    done = replay(trace, block_size, capacity=200)

    assert done.hit_tokens == known_hits()
    assert done.input_tokens == sum(request.input_tokens for request in trace)


@pytest.mark.parametrize("block_size", [16, 64, 512])
def test_a_cache_of_one_conversation_finds_nothing(
    trace: list[TracedRequest], block_size: int
) -> None:
    assert replay(trace, block_size, capacity=13).hit_tokens == 0


def test_a_batch_finds_what_was_computed_before_it(trace: list[TracedRequest]) -> None:
    # All turns fit into one batch: nothing is computed before they are planned.
    assert len(trace) <= BATCH
    assert replay(trace, 512, capacity=400, batched=True).hit_tokens == 0

    twice = replay(trace * BATCH, 512, capacity=2000, batched=True)
    assert twice.hit_tokens > known_hits() * (BATCH - 3)


def test_tokens_of_a_trace_are_equal_where_the_ids_are() -> None:
    one = TracedRequest(1000, np.array([3, 9], np.int32)).tokens()
    other = TracedRequest(600, np.array([3, 8], np.int32)).tokens()

    assert len(one) == 1000
    assert (one[:512] == other[:512]).all()
    assert not np.isin(one[512:], other[512:]).any()


def test_a_trace_whose_ids_do_not_cover_its_input_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"input_length": 513, "hash_ids": [1]}')

    with pytest.raises(ValueError, match="line 1"):
        read_trace(path)
