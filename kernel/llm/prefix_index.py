"""Which engine has computed which beginnings of prompts: a guess, from what was sent where.

A beginning is named by chained digests of its blocks. What an engine evicts is not taken out:
its own cache decides what is found there, this only where to look. An engine that is lost is
forgotten. Bounded: the least recently used of ``max_blocks`` names go first.

Cost: one digest a block of ``BLOCK`` tokens; ``match`` ends at the first block nobody has.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ext.wire import digest64

BLOCK = 32  # tokens
MAX_BLOCKS = 1 << 16


class PrefixIndex:
    """See the module head."""

    def __init__(self, max_blocks: int = MAX_BLOCKS) -> None:
        self.max_blocks = max_blocks
        self._engines: dict[int, dict[int, None]] = {}  # name of a beginning -> engines

    def __len__(self) -> int:
        return len(self._engines)

    def note(self, engine: int, ids: NDArray[np.int32]) -> None:
        """An engine is to compute these tokens."""
        for name in _names(ids):
            engines = self._engines.pop(name, None)
            if engines is None:
                engines = {}
                if len(self._engines) >= self.max_blocks:
                    del self._engines[next(iter(self._engines))]
            engines[engine] = None
            self._engines[name] = engines

    def match(self, ids: NDArray[np.int32]) -> dict[int, int]:
        """Return how many tokens of the beginning each engine has seen, of those that have any."""
        found: dict[int, int] = {}
        length = 0
        for name in _names(ids):
            engines = self._engines.get(name)
            if engines is None:
                break
            length += BLOCK
            for engine in engines:
                if found.get(engine, 0) == length - BLOCK:
                    found[engine] = length
        return found

    def forget(self, engine: int) -> None:
        """An engine has lost its cache. Cost: O(all names)."""
        for name, engines in list(self._engines.items()):
            engines.pop(engine, None)
            if not engines:
                del self._engines[name]


def _names(ids: NDArray[np.int32]) -> list[int]:
    names, before, data = [], b"", ids.tobytes()
    for end in range(4 * BLOCK, len(data) + 1, 4 * BLOCK):
        name = digest64(before + data[end - 4 * BLOCK : end])
        names.append(name)
        before = name.to_bytes(8, "little")
    return names
