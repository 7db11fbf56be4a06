"""The newest tokens of running requests, one row a slot, so that a step is a few array operations.

A step gives each running request one token. Writing these into one array each would be a Python
loop over the batch; here they go into one matrix, and from there into the requests' own arrays
when it is a row's turn or somebody reads it (kernel/llm/request.py).

Invariant: rows take turns, a few before each push, so that each row's turn comes again before the
row is full. No step has to empty many, and none has to look which are full.

Cost: a few array operations a step; memory: 256 tokens and two numbers a slot.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

ROW_TOKENS: Final = 256


class TokenRows:
    """Tokens that came since each row was last emptied, and when the last of them came."""

    __slots__ = ("_next", "_stride", "counts", "last_ns", "recent")

    def __init__(self, num_rows: int) -> None:
        self.recent = np.zeros((num_rows, ROW_TOKENS), np.int32)
        self.counts = np.zeros(num_rows, np.int64)
        self.last_ns = np.zeros(num_rows, np.int64)
        self._next = 0
        self._stride = -(-num_rows // (ROW_TOKENS - 1))

    def take_turns(self) -> range:
        """Return the rows to be emptied before the next push."""
        first = self._next
        last = min(first + self._stride, len(self.counts))
        self._next = last if last < len(self.counts) else 0
        return range(first, last)

    def push(self, rows: NDArray[np.int64], tokens: NDArray[np.int32], now_ns: int) -> None:
        """Add a token to each of these rows."""
        places = self.counts[rows]
        self.recent[rows, places] = tokens
        self.counts[rows] = places + 1
        self.last_ns[rows] = now_ns
