"""Engines as the kernel knows them: driver processes of a model version, and what they do now.

Leaf: it holds what others decide. An engine's scheduler lives as long as its incarnation; a new
one begins with nothing.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from ipc.engine import EngineFacts
from kernel.llm.job import Job
from kernel.llm.registry import ModelVersion
from kernel.llm.scheduler import Scheduler


class EngineState(Enum):
    """Where an engine stands."""

    STARTING = "starting"
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


@dataclass(slots=True, eq=False)
class Engine:
    """One driver process, whichever its incarnation."""

    actor: int
    name: str
    model: ModelVersion
    state: EngineState = EngineState.STARTING
    progress: float = 0.0
    facts: EngineFacts = field(default_factory=lambda: EngineFacts())
    scheduler: Scheduler | None = None  # while it is ready and has a KV cache
    preparing: dict[int, Job] = field(default_factory=dict)
    jobs: dict[int, Job] = field(default_factory=dict)  # queued here, by request
    metered: dict[int, Job] = field(default_factory=dict)  # of these, those of a budget
    steps: int = 0  # reports taken
    step_ns: int = 0
    failed_loads: int = 0
    is_draining: bool = False  # takes no new work
    is_leaving: bool = False  # and is ended once it has none

    @property
    def is_ready(self) -> bool:
        """Say whether it takes requests."""
        return self.state is EngineState.READY

    @property
    def takes_work(self) -> bool:
        """Say whether it is given new requests."""
        return self.is_ready and not self.is_draining

    @property
    def load(self) -> int:
        """Return how many requests it has, for placement."""
        return len(self.jobs) + len(self.preparing)


class Engines:
    """All engines, by actor and by model, and the jobs that wait for one."""

    def __init__(self) -> None:
        self._engines: dict[int, Engine] = {}
        self._lines: dict[ModelVersion, deque[Job]] = {}

    def __iter__(self) -> Any:
        return iter(list(self._engines.values()))

    def get(self, actor: int) -> Engine | None:
        """Return the engine that this actor is."""
        return self._engines.get(actor)

    def add(self, engine: Engine) -> None:
        """Keep an engine."""
        self._engines[engine.actor] = engine

    def remove(self, engine: Engine) -> None:
        """Forget an engine."""
        self._engines.pop(engine.actor, None)

    def of_model(self, model: ModelVersion) -> list[Engine]:
        """Return a version's engines."""
        return [engine for engine in self._engines.values() if engine.model is model]

    def line(self, model: ModelVersion) -> deque[Job]:
        """Return the jobs that wait until an engine of the version is ready."""
        return self._lines.setdefault(model, deque())
