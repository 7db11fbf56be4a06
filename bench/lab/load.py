"""How much of a workload an engine can take, measured; and a workload at a share of that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bench.lab.arguments import check_load
from bench.lab.call import Call, scaled
from bench.lab.engine_model import EngineModel
from bench.lab.replay import Recorded, Replay
from ipc.errors import BadLoadError

SAMPLE = 1_500  # calls that are all there at once


def saturation(calls: Sequence[Call], model: EngineModel) -> float:
    """Return the calls a second that the engine ends while calls are always waiting.

    Measured on the first calls, first come first served. Who runs when the line is empty for the
    first time counts half.

    Raises:
        BadLoadError: the engine's memory holds none of the calls.
    """
    sample = [replace(call, arrival_ns=0) for call in calls[:SAMPLE]]
    history = Replay(Recorded(sample), model, "fcfs").run()
    outcomes = history.outcomes
    if not outcomes:
        raise BadLoadError(what="calls that the engine can hold", value=0, needs="1 or more")
    drained_ns = history.drained_ns or history.span_ns
    ended = sum(each.ended_ns <= drained_ns for each in outcomes)
    if ended < len(outcomes) / 2:  # too few calls to fill the engine: its end counts too
        return len(outcomes) / history.span_ns * 1e9
    return (ended + (len(outcomes) - ended) / 2) / drained_ns * 1e9


def at_load(calls: Sequence[Call], load: float, per_s: float) -> list[Call]:
    """Return the calls with their gaps scaled to `load` of what the engine ends a second.

    Raises:
        BadLoadError: the load is not above 0.
    """
    check_load(load)
    span_s = calls[-1].arrival_ns / 1e9
    if not span_s:
        return list(calls)
    return scaled(calls, (len(calls) - 1) / span_s / (load * per_s))
