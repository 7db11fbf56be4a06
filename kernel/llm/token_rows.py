"""The newest tokens of running requests, one row a slot, so that a step is a few array operations.

A step gives each running request one token. Writing these into one array each would be a Python
loop over the batch; here they go into one matrix, and from there into the requests' own arrays
when a row is full or somebody reads them (kernel/llm/request.py).

Cost: about 10 us a step of 256 requests; memory: 64 tokens and two numbers a slot.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

ROW_TOKENS: Final = 64


class TokenRows:
    """Tokens that came since each row was last emptied, and when the last of them came."""

    __slots__ = ("counts", "last_ns", "recent", "room")

    def __init__(self, num_rows: int) -> None:
        self.recent = np.zeros((num_rows, ROW_TOKENS), np.int32)
        self.counts = np.zeros(num_rows, np.int64)
        self.last_ns = np.zeros(num_rows, np.int64)
        self.room = ROW_TOKENS  # no row holds more than ROW_TOKENS - room

    def push(self, rows: NDArray[np.int64], tokens: NDArray[np.int32], now_ns: int) -> None:
        """Add a token to each of these rows, which must not be full."""
        places = self.counts[rows]
        self.recent[rows, places] = tokens
        self.counts[rows] = places + 1
        self.last_ns[rows] = now_ns
        self.room -= 1

    def full_rows(self) -> list[int]:
        """Return the rows that must be emptied before the next push."""
        if self.room:
            return []
        return np.flatnonzero(self.counts == ROW_TOKENS).tolist()

    def count_room(self) -> None:
        """Find out how many pushes are safe, after the full rows were emptied."""
        self.room = ROW_TOKENS - int(self.counts.max())
