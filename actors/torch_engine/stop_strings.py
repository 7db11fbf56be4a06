"""Where a text ends because of what it says, and how much of it may be shown before that."""

from __future__ import annotations

from collections.abc import Sequence


def find_stop(text: str, stops: Sequence[str], new_from: int) -> int | None:
    """Return where the first stop string begins. new_from: before it none was complete."""
    longest = max(map(len, stops), default=0)
    start = max(0, new_from - longest + 1)
    found = [at for stop in stops if (at := text.find(stop, start)) >= 0]
    return min(found, default=None)


def num_shown(text: str, stops: Sequence[str]) -> int:
    """Return how much of the text no stop string can still claim."""
    for start in range(max(0, len(text) - max(map(len, stops), default=0) + 1), len(text)):
        if any(stop.startswith(text[start:]) for stop in stops):
            return start
    return len(text)
