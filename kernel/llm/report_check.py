"""A report checked against the plan it is of, before anything is changed by it.

An engine that breaks the contract of ipc/engine.py is replaced: what it computes next cannot be
trusted. So everything it says is checked here, and what passes can be applied without a doubt.

Cost: one pass over the rows (ext/slot_rows.pyx), and what is special in the step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray

from ext.slot_rows import AT_LIMIT, NOT_ALL_TOKENS, SlotRows
from ipc.engine import NO_TOKEN, Ended, Failed, Report
from ipc.errors import BadFrameError
from kernel.llm.draft import WIRE, WIRE_BYTES
from kernel.llm.flight import Flight
from kernel.llm.request import Request
from kernel.llm.task import DONE, Task

_End = TypeVar("_End", Ended, Failed)

REASONS = frozenset({"stop", "length", "tool_calls"})


@dataclass(slots=True)
class CheckedReport:
    """A report in terms of tasks and requests; of those that have ended meanwhile it has nothing.

    kept: which rows count; None: all.
    """

    tokens: NDArray[np.int32]
    kept: NDArray[np.bool_] | None
    texts: list[tuple[Request, str]]
    logprobs: list[tuple[Request, dict[str, Any]]]
    ended: list[tuple[Task, Ended]]
    failed: list[tuple[Task, dict[str, Any]]]


def check_report(report: Report, flight: Flight, rows: SlotRows, vocab_size: int) -> CheckedReport:
    """Return what a report says, in terms of tasks.

    Raises:
        BadFrameError: it breaks the contract. Nothing was changed.
    """
    tokens, flags = _tokens(report, flight, rows, vocab_size)
    ended = _of_tasks(report.get("ended"), flight, _check_ended)
    failed = _of_tasks(report.get("failed"), flight, _check_failed)
    ends = [*ended, *failed] if failed else ended
    ending = {end["slot"] for _, end in ends}
    if len(ending) != len(ends):
        _refuse("a request ended twice")
    kept = None
    if flags & NOT_ALL_TOKENS or flight.is_disturbed or failed:
        kept = _kept(tokens, flight, [task for task, _ in failed])
    if flags & AT_LIMIT or kept is not None:
        if kept is None:
            limited = rows.at_limit(flight.slots)
        else:
            limited = flight.slots[(tokens < 0) | _at_limit(flight, rows)].tolist()
        if not ending.issuperset(limited):
            _check_limited(limited, flight, ending)
    _check_counts(kept, flight, ended)
    return CheckedReport(
        tokens,
        kept,
        _pairs(report.get("texts"), flight, str),
        _pairs(report.get("logprobs"), flight, dict),
        ended,
        [(task, failure["error"]) for task, failure in failed],
    )


def _refuse(reason: str) -> NoReturn:
    raise BadFrameError(reason=f"a step's report: {reason}")


def _tokens(
    report: Report, flight: Flight, rows: SlotRows, vocab_size: int
) -> tuple[NDArray[np.int32], int]:
    """Return the rows' tokens, and what is special about them."""
    data = report.get("tokens", b"")
    if not isinstance(data, bytes) or len(data) != len(flight.slots) * WIRE_BYTES:
        _refuse(f"not one token for each of the {len(flight.slots)} rows")
    tokens = np.frombuffer(data, WIRE)
    flags = rows.check(flight.slots, tokens, vocab_size)
    if flags & NOT_ALL_TOKENS and (tokens.min() < NO_TOKEN or tokens.max() >= vocab_size):
        _refuse("a token outside the vocabulary")
    return tokens, flags


def _at_limit(flight: Flight, rows: SlotRows) -> NDArray[np.bool_]:
    """Return which rows give their request the last token it may have."""
    limits: NDArray[np.bool_] = rows.unsampled[flight.slots] == 1
    if flight.left:
        # Of those, the slot may be somebody else's by now.
        for row in flight.rows_of(flight.left).nonzero()[0].tolist():
            task = flight.holders[int(flight.slots[row])]
            assert task is not None
            limits[row] = task.request.num_emitted + 1 >= task.request.max_tokens
    return limits


def _holder(slot: object, flight: Flight) -> Task:
    holders = flight.holders
    if type(slot) is int and 0 <= slot < len(holders) and (task := holders[slot]) is not None:
        return task
    _refuse(f"slot {slot!r} is nobody's")


def _of_tasks(
    items: list[_End] | None, flight: Flight, check: Callable[[Any], None]
) -> list[tuple[Task, _End]]:
    found: list[tuple[Task, _End]] = []
    if not items:
        return found
    if not isinstance(items, list):
        _refuse("ends that are no list")
    for item in items:
        try:
            check(item)
            task = _holder(item["slot"], flight)
        except (KeyError, TypeError):
            _refuse("an end that is no map, or lacks something")
        if task.place is not DONE:
            found.append((task, item))
    return found


def _check_ended(ended: Ended) -> None:
    is_complete = type(ended["text"]) is str and type(ended["tokens"]) is int
    if ended["reason"] not in REASONS or not is_complete:
        _refuse("an end without a reason, a text and a number of tokens")


def _check_failed(failed: Failed) -> None:
    if not isinstance(failed["error"], dict):
        _refuse("a failure without an error")


def _kept(tokens: NDArray[np.int32], flight: Flight, failed: list[Task]) -> NDArray[np.bool_]:
    kept: NDArray[np.bool_] = tokens >= 0
    if flight.gone:
        kept &= ~flight.rows_of(flight.gone)
    for task in failed:
        row = flight.row_of(task.slot)
        if row is not None:
            kept[row] = False
    return kept


def _check_limited(limited: list[int], flight: Flight, ending: set[int]) -> None:
    """A row without a token, or with the last one allowed, is of a request that ends."""
    for slot in limited:
        task = flight.holders[slot]
        if slot not in ending and task is not None and task.place is not DONE:
            _refuse(f"slot {slot} should have ended")


def _check_counts(
    kept: NDArray[np.bool_] | None, flight: Flight, ended: list[tuple[Task, Ended]]
) -> None:
    for task, end in ended:
        has_token = flight.is_sampled[task.slot]  # 1, or 0
        if has_token and kept is not None:
            has_token = int(kept[flight.row_of(task.slot)])
        if end["tokens"] != task.request.num_emitted + has_token:
            _refuse(f"slot {task.slot} ended after {end['tokens']} tokens")


def _pairs(items: list[list[Any]] | None, flight: Flight, kind: type) -> list[tuple[Request, Any]]:
    found: list[tuple[Request, Any]] = []
    if not items:
        return found
    if not isinstance(items, list):
        _refuse("texts or logprobs that are no list")
    for item in items:
        if not isinstance(item, (list, tuple)) or len(item) != 2 or not isinstance(item[1], kind):
            _refuse("texts and logprobs are pairs of a slot and its value")
        task = _holder(item[0], flight)
        if task.place is not DONE:
            found.append((task.request, item[1]))
    return found
