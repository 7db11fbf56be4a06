"""Engines as resources: one more, one that takes no new work, one that leaves when it is done.

An engine that drains computes what it has and is given no more; requests go to the model's other
engines, or wait while one is being started. If all drain, requests are refused: kernel/llm/fleet.py
says so. One that leaves drains first, and is ended once it has nothing to do.

What an operator said holds over restarts: rows of the table ``resource``, by the engine's name.
"""

from __future__ import annotations

import msgpack

from ipc.errors import BadResourceError
from kernel.llm.engines import Engine
from kernel.llm.fleet import Fleet

KIND = "engine"
PREFIX = "engine."


class Drains:
    """See the module head."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.state = fleet.state
        self.engines = fleet.engines
        self._saved: set[str] = set()  # names with a row

    def find(self, name: str) -> Engine | None:
        """Return the engine of this name."""
        return next((engine for engine in self.engines if engine.name == name), None)

    def drain(self, engine: Engine, *, leaves: bool = False) -> None:
        """Give an engine no more work. leaves: end it when it has none left."""
        engine.is_draining = True
        engine.is_leaving = engine.is_leaving or leaves
        row = (msgpack.packb([KIND, engine.is_leaving]),)
        self.state.output.changes.put("resource", engine.name, row)
        self._saved.add(engine.name)

    def take_back(self, engine: Engine) -> None:
        """Let an engine that drains take work again."""
        engine.is_draining = engine.is_leaving = False
        self._drop_row(engine.name)
        if engine.is_ready:
            self.fleet.generation.drain_line(engine)

    def add(self, name: str) -> Engine:
        """Start one more engine of a model, named ``engine.MODEL``; or take one back.

        Raises:
            UnknownModelError: there is no such model. BadResourceError: it is an endpoint's.
        """
        engine = self.find(name)
        if engine is not None:
            self.take_back(engine)
            return engine
        model = self.fleet.models.resolve(name.removeprefix(PREFIX))
        if model.kind == "remote":
            problem = "an endpoint has one engine; its --concurrency says how much it takes"
            raise BadResourceError(name=name, problem=problem)
        return self.fleet.start_one(model)

    def tick(self) -> None:
        """Once a second: end those that have nothing left to do; forget those that are gone."""
        for engine in self.engines:
            if engine.is_leaving and not engine.load and engine.actor not in self.state.doomed:
                self.state.doomed[engine.actor] = "removed by an operator, and it has no work left"
        for name in sorted(self._saved - {engine.name for engine in self.engines}):
            self._drop_row(name)

    def on_gpu(self, name: str) -> list[Engine]:
        """Return the engines that compute on a GPU now. name: gpu.N, or none's."""
        return [engine for engine in self.engines if _gpu_of(engine) == name]

    def on_gpu_lost(self, name: str) -> int:
        """Replace the engines of a GPU that has vanished; return how many.

        Their requests go on at once on other engines of the model; the replacement finds another
        GPU, or fails to load and is ended.
        """
        lost = self.on_gpu(name)
        for engine in lost:
            self.state.crashed[engine.actor] = f"its {name} has vanished"
        return len(lost)

    def load(self, name: str, row: list[object]) -> None:
        """Take what an operator said to the kernel before this one."""
        engine = self.find(name)
        self._saved.add(name)
        if engine is not None:
            engine.is_draining, engine.is_leaving = True, bool(row[1])

    def _drop_row(self, name: str) -> None:
        if name in self._saved:
            self._saved.discard(name)
            self.state.output.changes.delete("resource", name)


def _gpu_of(engine: Engine) -> str | None:
    """Return the name of the GPU that an engine computes on, as it has said itself."""
    kind, _, number = str(engine.facts.get("device", "")).partition(":")
    if kind != "cuda":
        return None
    return f"gpu.{number if number.isdecimal() else 0}"
