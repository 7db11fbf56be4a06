"""Many asks at once, one an item: bounded, in order, with what failed told beside what did not.

At most ``window`` asks are outstanding; the next item is taken only when one has been answered, so
a long or endless iterable is not read ahead of its answers. One that fails stops no other. In a
turn these are ordinary recorded asks: a retried turn repeats none that was answered.

Cost: a task for each of at most ``window`` asks under way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ipc.errors import LLMOSError, PartialFailureError, UsageError

WINDOW = 64  # asks outstanding, unless said otherwise


@dataclass(frozen=True, slots=True)
class Gathered:
    """What came of a scatter, in the order of the items.

    answers: one an item, None where it failed. errors: by index, of those that failed.
    """

    answers: list[Any]
    errors: dict[int, LLMOSError]

    @property
    def is_complete(self) -> bool:
        """Say whether every ask was answered."""
        return not self.errors

    def __len__(self) -> int:
        return len(self.answers)

    def succeeded(self) -> Iterator[tuple[int, Any]]:
        """Yield index and answer of each ask that was answered."""
        return (pair for pair in enumerate(self.answers) if pair[0] not in self.errors)

    def all(self) -> list[Any]:
        """Return the answers. Raises PartialFailureError if any is missing."""
        if self.errors:
            first = min(self.errors)
            raise PartialFailureError(
                failed=len(self.errors),
                total=len(self.answers),
                index=first,
                problem=f"{type(self.errors[first]).__name__}: {self.errors[first]}",
            )
        return self.answers


async def scatter(
    items: Iterable[Any], ask: Callable[[Any], Awaitable[Any]], window: int = WINDOW
) -> Gathered:
    """Ask once for each item, at most ``window`` at a time; return when all have ended.

    Raises:
        UsageError: the window is below 1. What ``items`` raises: asks under way are cancelled.
    """
    if window < 1:
        raise UsageError(reason=f"a window is at least 1 ask, not {window!r}")
    answers: list[Any] = []
    errors: dict[int, LLMOSError] = {}
    left = iter(items)

    async def work() -> None:
        for item in left:
            index = len(answers)
            answers.append(None)
            try:
                answers[index] = await ask(item)
            except LLMOSError as error:
                errors[index] = error

    async with asyncio.TaskGroup() as group:
        for _ in range(_at_most(items, window)):
            group.create_task(work())
    return Gathered(answers, dict(sorted(errors.items())))


def _at_most(items: Iterable[Any], window: int) -> int:
    try:
        return min(window, len(items))  # type: ignore[arg-type]
    except TypeError:
        return window
