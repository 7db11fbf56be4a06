"""Requests of one family, forks of one session, and the part of a block they have in common.

Full blocks are shared by content (ext/kv_cache.pyx). Where a fork begins inside a block, the tokens
before it would be computed once more for every branch; while a sibling that has computed them is
running, its block is copied instead, as the engine's next step begins.

What it is not: a promise. Without a running sibling, or one whose step has not reported yet, these
tokens (fewer than a block has) are computed again; so it is after a crash, when families are
forgotten.

Cost: nothing for requests without a family; else O(running siblings) for one that is admitted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ext.kv_cache import KVCache
from kernel.llm.task import Task


@dataclass(frozen=True, slots=True)
class Tail:
    """What can be copied: a block, of which the first ``num_tokens`` count."""

    num_tokens: int
    source: int
    target: int


@dataclass(frozen=True, slots=True)
class Step:
    """The step that is being planned."""

    number: int
    block_size: int


class Siblings:
    """The running tasks of each family."""

    __slots__ = ("_families",)

    def __init__(self) -> None:
        self._families: dict[int, dict[int, Task]] = {}

    def enter(self, task: Task) -> None:
        """A task of a family has taken a slot."""
        self._families.setdefault(task.request.family, {})[task.request.id] = task

    def leave(self, task: Task) -> None:
        """A task of a family has left its slot."""
        family = task.request.family
        del self._families[family][task.request.id]
        if not self._families[family]:
            del self._families[family]

    def tail_for(
        self, cache: KVCache, task: Task, start: int, most: int, step: Step
    ) -> Tail | None:
        """Return what a task that is to compute from ``start`` on can have of a sibling, if any.

        start: where a block begins.  most: tokens that may be taken; less than a block has.
        """
        index = start // step.block_size
        own = cache.block_table(task.handle)
        wanted = task.request.ids[start : start + most]
        best: Tail | None = None
        for sibling in self._families.get(task.request.family, {}).values():
            # What this plan itself copies is not there yet when its copies are made.
            if (
                sibling.entered >= step.number
                or sibling.request.extra_key != task.request.extra_key
            ):
                continue
            computed = min(cache.state(sibling.handle).computed - start, len(wanted))
            table = cache.block_table(sibling.handle)
            # The same block before it: then all before it is the same.
            if computed < 1 or (index and table[index - 1] != own[index - 1]):
                continue
            num_tokens = num_equal(wanted[:computed], sibling.request.ids[start:][:computed])
            if num_tokens > (0 if best is None else best.num_tokens):
                best = Tail(num_tokens, int(table[index]), int(own[index]))
        return best


def num_equal(left: NDArray[np.int32], right: NDArray[np.int32]) -> int:
    """Return how many tokens are the same before the first that is not."""
    is_equal = left == right
    return len(is_equal) if is_equal.all() else int(is_equal.argmin())
