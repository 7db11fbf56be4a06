"""Which engine of a model computes a request.

Policy: where a session's blocks are, unless that engine has far more to do than another; else
the one with the fewest requests, the first of equals.
"""

from __future__ import annotations

from collections.abc import Sequence

from kernel.llm.engines import Engine

STICK = 8  # requests more than the least loaded one's that a session puts up with


def choose_engine(engines: Sequence[Engine], preferred: int) -> Engine:
    """Return the engine. engines: ready ones, at least one. preferred: an actor id, or 0."""
    least = min(engines, key=lambda engine: engine.load)
    for engine in engines:
        if engine.actor == preferred and engine.load <= least.load + STICK:
            return engine
    return least
