"""Types of turn.pyx for editors and mypy."""

from typing import Any

class Turn:
    message: Any
    outstanding: set[int]
    reservations: list[int]
    budget_waits: dict[int, Any] | None
    is_cancelled: bool
    is_adopted: bool
    is_starved: bool
    def __init__(self, message: Any) -> None: ...
    @property
    def is_parked(self) -> bool: ...
