"""Counters: what happened, how often. Names are stable; ``llmos statistics`` prints them.

Not logs: a counter says how many, a log line says which. Owned by one core.
"""

from __future__ import annotations

from collections import defaultdict


class Counters:
    """Monotone counters by name."""

    __slots__ = ("values",)

    def __init__(self) -> None:
        self.values: defaultdict[str, int] = defaultdict(int)

    def add(self, name: str, amount: int = 1) -> None:
        """Count ``amount`` more of ``name``."""
        self.values[name] += amount

    def get(self, name: str) -> int:
        """Return the count; 0 for a name never counted."""
        return self.values.get(name, 0)

    def statistics(self) -> dict[str, int]:
        """Return all counters."""
        return dict(sorted(self.values.items()))
