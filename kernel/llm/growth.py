"""How much those who run are expected to grow, and whether one more would still fit then.

Without it admission looks at what is known now, and a bit: requests that grow beyond the pool are
preempted, and computed again. Here each request that gets a slot brings guesses of its length, one
per level of LEVELS and its limit; the smallest that it has not outlived counts. A request that
nobody can guess yet (no history) counts as growing no further, so that without history this holds
up nobody.

What it decides by is kernel/policy/expected_room.py; who guesses is the policy of the scheduler.

Invariants:
  W1  the rows of slots that nobody has count for nothing.
  W2  it holds up nobody while no request runs.
  W3  who was refused is looked at anew when somebody has left a slot: until then those who run do
      what was expected of them, or more.
Cost: a few stores for each request that gets a slot; for each that is looked at some array
operations over the slots (`us_growth` of bench/admission.py), in a step after W3 a comparison.
"""

from __future__ import annotations

import numpy as np

from kernel.llm.batch import Batch
from kernel.llm.limits import EngineLimits
from kernel.llm.task import Task
from kernel.policy.estimate import Estimate
from kernel.policy.expected_room import Ints, peak_growth

LEVELS = (0.5, 0.9, 0.99)  # quantiles of a guess, the next counts when one is outlived


class Growth:
    """See the module head. All tokens are those of completions, but for `own`."""

    __slots__ = ("_batch", "_limits", "_own_at_end", "_refused", "_rest")

    def __init__(self, limits: EngineLimits, batch: Batch) -> None:
        self._batch = batch
        self._limits = limits
        # Both are counted from the end of a request, since its slot's row says what is left to it:
        # what is left at each level, and what it would hold at its limit and share with nobody.
        self._rest = np.zeros((limits.max_running, len(LEVELS) + 1), np.int64)
        self._own_at_end = np.zeros(limits.max_running, np.int64)
        self._refused: tuple[int, int] | None = None

    def enter(self, task: Task, estimate: Estimate | None, cached: int) -> None:
        """A task has got a slot. cached: tokens of it that others have computed."""
        self._rest[task.slot] = self._rests(task, estimate)
        self._own_at_end[task.slot] = task.request.num_prompt - cached + task.request.max_tokens

    def _rests(self, task: Task, estimate: Estimate | None) -> list[int]:
        """Return, per level and for the limit, the tokens between it and the limit."""
        most = task.request.max_tokens
        if estimate is None:
            return [most] * (len(LEVELS) + 1)
        guesses = dict(estimate.quantiles)
        return [*(most - min(guesses[level], most) for level in LEVELS), 0]

    def has_refused(self, task: Task, changes: int) -> bool:
        """Say whether it has, and nobody left a slot since (W3). changes: counts who did."""
        return self._refused == (task.order, changes) and self._batch.num_taken > 0

    def fits(
        self, task: Task, estimate: Estimate | None, cached: int, held: int, changes: int
    ) -> bool:
        """Say whether all will have room to their ends if this task gets a slot.

        held: blocks that will not be free once its known tokens have theirs.
        """
        if not self._batch.num_taken:
            return True  # W2
        grown = self._limits.blocks_for(self._peak(task, estimate, cached))
        if held + grown <= self._limits.num_blocks:
            return True
        self._refused = task.order, changes
        return False

    def _peak(self, task: Task, estimate: Estimate | None, cached: int) -> int:
        """Return the tokens by which what all hold will grow at most, with this task."""
        request = task.request
        taken = self._batch.taken()
        unsampled = self._batch.rows.unsampled[taken]
        samples = request.max_tokens - request.num_emitted
        left = expected(
            np.append(unsampled, samples),
            np.append(self._rest[taken], [self._rests(task, estimate)], axis=0),
        )
        own = np.append(self._own_at_end[taken] - unsampled, request.num_tokens - cached)
        return peak_growth(left, own)


def expected(unsampled: Ints, rest: Ints) -> Ints:
    """Return the tokens left to each by the smallest guess that it has not outlived, else none.

    unsampled: tokens left until its limit.  rest: (requests, guesses), ascending guesses: tokens
    left to the limit when a guess is reached.
    """
    left = unsampled[:, None] - rest
    first = (left > 0).argmax(1)
    found: Ints = np.maximum(left[np.arange(len(left)), first], 0)
    return found
