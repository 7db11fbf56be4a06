"""A report checked against the plan it is of, before anything is changed by it.

An engine that breaks the contract of ipc/engine.py is replaced: what it computes next cannot be
trusted. So everything it says is checked here, and what passes can be applied without a doubt.

Cost: three array operations and what is special in the step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray

from ipc.engine import Ended, Failed, Report
from ipc.errors import BadFrameError
from kernel.llm.draft import WIRE
from kernel.llm.flight import Flight
from kernel.llm.task import Place, Task

_End = TypeVar("_End", Ended, Failed)

REASONS = frozenset({"stop", "length", "tool_calls"})


@dataclass(frozen=True, slots=True)
class CheckedReport:
    """A report in terms of tasks. Tasks that have ended meanwhile are in none of these.

    kept: which rows count; None: all.
    """

    tokens: NDArray[np.int32]
    kept: NDArray[np.bool_] | None
    texts: list[tuple[Task, str]]
    logprobs: list[tuple[Task, dict[str, Any]]]
    ended: list[tuple[Task, Ended]]
    failed: list[tuple[Task, dict[str, Any]]]


def check_report(
    report: Report, flight: Flight, vocab_size: int, at_limit: NDArray[np.bool_]
) -> CheckedReport:
    """Return what a report says, in terms of tasks.

    at_limit: which rows give a request the last token it may have.
    Raises:
        BadFrameError: it breaks the contract. Nothing was changed.
    """
    tokens = _tokens(report, flight, vocab_size)
    ended = _of_tasks(report.get("ended") or [], flight, _check_ended)
    failed = _of_tasks(report.get("failed") or [], flight, _check_failed)
    ending = [task for task, _ in ended] + [task for task, _ in failed]
    if len(set(map(id, ending))) != len(ending):
        _refuse("a request ended twice")
    kept = _kept(tokens, flight, [task for task, _ in failed])
    _check_rows(tokens, kept, flight, ending, at_limit)
    _check_counts(tokens, kept, flight, ended)
    return CheckedReport(
        tokens,
        kept,
        _pairs(report.get("texts") or [], flight, str),
        _pairs(report.get("logprobs") or [], flight, dict),
        ended,
        [(task, failure["error"]) for task, failure in failed],
    )


def _refuse(reason: str) -> NoReturn:
    raise BadFrameError(reason=f"a step's report: {reason}")


def _tokens(report: Report, flight: Flight, vocab_size: int) -> NDArray[np.int32]:
    data = report.get("tokens", b"")
    if not isinstance(data, bytes) or len(data) != len(flight.slots) * WIRE.itemsize:
        _refuse(f"not one token for each of the {len(flight.slots)} rows")
    tokens = np.frombuffer(data, WIRE)
    if len(tokens) and not (tokens.min() >= -1 and tokens.max() < vocab_size):
        _refuse("a token outside the vocabulary")
    return tokens


def _holder(slot: object, flight: Flight) -> Task:
    if type(slot) is int and 0 <= slot < len(flight.holders):
        task: Task | None = flight.holders[slot]
        if task is not None:
            return task
    _refuse(f"slot {slot!r} is nobody's")


def _of_tasks(
    items: list[_End], flight: Flight, check: Callable[[Any], None]
) -> list[tuple[Task, _End]]:
    found = []
    for item in items:
        if not isinstance(item, dict):
            _refuse("an end that is no map")
        task = _holder(item.get("slot"), flight)
        check(item)
        if task.place is not Place.DONE:
            found.append((task, item))
    return found


def _check_ended(ended: Ended) -> None:
    is_complete = isinstance(ended.get("text"), str) and type(ended.get("tokens")) is int
    if ended.get("reason") not in REASONS or not is_complete:
        _refuse("an end without a reason, a text and a number of tokens")


def _check_failed(failed: Failed) -> None:
    if not isinstance(failed.get("error"), dict):
        _refuse("a failure without an error")


def _kept(
    tokens: NDArray[np.int32], flight: Flight, failed: list[Task]
) -> NDArray[np.bool_] | None:
    if not flight.is_disturbed and not failed and (not len(tokens) or tokens.min() >= 0):
        return None
    kept: NDArray[np.bool_] = (tokens >= 0) & ~flight.gone[flight.slots]
    for task in failed:
        row = flight.row_of(task.slot)
        if row is not None:
            kept[row] = False
    return kept


def _check_rows(
    tokens: NDArray[np.int32],
    kept: NDArray[np.bool_] | None,
    flight: Flight,
    ending: list[Task],
    at_limit: NDArray[np.bool_],
) -> None:
    """A row without a token, or with the last one allowed, is of a request that ends."""
    ends = (tokens < 0) | at_limit if kept is not None else at_limit
    if not ends.any():
        return
    for task in flight.tasks[ends]:
        if task.place is not Place.DONE and task not in ending:
            _refuse(f"slot {task.slot} should have ended")


def _check_counts(
    tokens: NDArray[np.int32],
    kept: NDArray[np.bool_] | None,
    flight: Flight,
    ended: list[tuple[Task, Ended]],
) -> None:
    for task, end in ended:
        row = flight.row_of(end["slot"])
        has_token = row is not None and (kept is None or bool(kept[row]))
        if end["tokens"] != task.request.num_emitted + has_token:
            _refuse(f"slot {end['slot']} ended after {end['tokens']} tokens")


def _pairs(items: list[list[Any]], flight: Flight, kind: type) -> list[tuple[Task, Any]]:
    found = []
    for item in items:
        if not isinstance(item, (list, tuple)) or len(item) != 2 or not isinstance(item[1], kind):
            _refuse("texts and logprobs are pairs of a slot and its value")
        task = _holder(item[0], flight)
        if task.place is not Place.DONE:
            found.append((task, item[1]))
    return found
