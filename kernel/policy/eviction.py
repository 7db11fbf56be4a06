"""What an eviction policy is told, and what it is asked: which cached blocks to give up.

A cache holds blocks of 512 or so tokens; a request uses a chain of them, each with all before it
as its prefix, so a block is of use only while those before it are there. The cache tells a policy
each use of a chain; the policy names blocks to give up. Blocks in use are the cache's matter: it
passes them as `keep`.

Promise of every policy: it is deterministic, and `evict` names distinct blocks that are cached and
not in `keep`, as many as asked for if there are so many.
The policies by name are in kernel/policy/eviction_names.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Use:
    """One request's use of a chain of blocks, told when it has ended.

    chain: block ids, the head first.  num_found: how many of them were cached before.
    program: the agent's run or conversation it belongs to.
    """

    at_s: float
    program: str
    chain: Sequence[int]
    num_found: int
    output_tokens: int = 0


class EvictionPolicy(Protocol):
    """See the module head."""

    def used(self, use: Use) -> None:
        """Take note that these blocks were used and are now cached."""

    def evict(self, count: int, keep: AbstractSet[int], now_s: float) -> list[int]:
        """Name so many cached blocks, the least useful first; they are cached no longer."""

    def forget(self, blocks: Sequence[int]) -> None:
        """Take note that these blocks are cached no longer, for a reason of the cache's own."""

    def work(self) -> None:
        """Go on learning, a little: called once a step, so that no step waits for all of it."""
