"""Types of job.pyx for editors and mypy."""

from collections.abc import Hashable
from typing import Any

class Job:
    id: int
    program: Hashable
    owner: Hashable
    priority: int
    arrival_ns: int
    deadline_ns: int | None
    predicted_tokens: float
    prompt_tokens: int
    weight: float
    parents: tuple[int, ...]
    note: Any
    def __init__(
        self,
        id: int,  # noqa: A002
        program: Hashable = "",
        owner: Hashable = "",
        priority: int = 0,
        arrival_ns: int = 0,
        deadline_ns: int | None = None,
        predicted_tokens: float = 1.0,
        prompt_tokens: int = 0,
        weight: float = 1.0,
        parents: tuple[int, ...] = (),
    ) -> None: ...
