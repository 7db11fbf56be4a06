"""What the simulator reports: a broken promise, with what led to it."""

from __future__ import annotations


class Violation(Exception):
    """A promise of DESIGN section 4, or an invariant of the core, does not hold."""

    def __init__(self, promise: str, text: str) -> None:
        self.promise = promise
        self.story: list[str] = []  # the last events before it
        super().__init__(f"{promise}: {text}")


def demand(holds: bool, promise: str, text: str) -> None:
    """Raise Violation unless ``holds``; use it where the text is cheap to build."""
    if not holds:
        raise Violation(promise, text)
