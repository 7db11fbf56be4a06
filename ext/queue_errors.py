"""What the ready queue hands out besides numbers: its entries and its errors.

Built-in families, so that a caller may catch IndexError, LookupError or ValueError; each error
carries its fields. After any of them the queue is as it was.
"""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """What the queue holds of one entry; ``handle`` is stale once the entry has left."""

    key: int | float
    arrival: int
    handle: int
    item: int
    level: int


class EmptyQueueError(IndexError):
    """There was nothing to take: at ``level``, or anywhere when it is None."""

    def __init__(self, level: int | None = None) -> None:
        self.level = level
        super().__init__("the queue is empty" if level is None else f"level {level} is empty")


class StaleHandleError(LookupError):
    """No entry has ``handle``: it has left, or never was. ``index`` is its place in a batch."""

    def __init__(self, handle: int, index: int | None = None) -> None:
        self.handle = handle
        self.index = index
        super().__init__(f"no entry has handle {handle:#x}{in_batch(index)}")


class NanKeyError(ValueError):
    """A key is NaN, which has no place in an order. ``index`` is its place in a batch."""

    def __init__(self, index: int | None = None) -> None:
        self.index = index
        super().__init__(f"a key is NaN{in_batch(index)}")


class LevelError(ValueError):
    """``level`` is not among the queue's ``levels``, which are counted from 0."""

    def __init__(self, level: int, levels: int) -> None:
        self.level = level
        self.levels = levels
        super().__init__(f"level {level} is not in [0, {levels})")


def in_batch(index: int | None) -> str:
    return "" if index is None else f" (batch index {index})"
