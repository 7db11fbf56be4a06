"""What a virtual handler waits for: done once, with a value or an error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True, eq=False)
class Wait:
    """See the module head."""

    is_done: bool = False
    value: Any = None
    error: Exception | None = None
    _then: list[Callable[[], None]] = field(default_factory=list)

    def resolve(self, value: Any) -> None:
        """It has come."""
        self._finish(value, None)

    def fail(self, error: Exception) -> None:
        """It will not come."""
        self._finish(None, error)

    def cancel(self) -> None:
        """Nobody waits any more."""
        self.is_done = True
        self._then.clear()

    def then(self, action: Callable[[], None]) -> None:
        """Call back when done, at once if it is."""
        if self.is_done:
            action()
        else:
            self._then.append(action)

    def _finish(self, value: Any, error: Exception | None) -> None:
        if self.is_done:
            return
        self.is_done, self.value, self.error = True, value, error
        then, self._then = self._then, []
        for action in then:
            action()
