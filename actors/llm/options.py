"""The options of LLM calls: their names, their checks, and where each of them travels.

They are keyword arguments typed as a TypedDict, so that editors complete them and type checkers
know them, while each method does not repeat eighteen parameters. None means: not given.
What contradicts itself, and what would have no effect, is refused before anything is sent.

What it is not: the last word. The kernel and the engine check again what they are told.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Literal, NamedTuple, cast

from typing_extensions import TypedDict

from actors.llm.structure import Structure
from actors.reference import PLAIN, OnBudget, Options
from ipc.errors import SamplingError
from ipc.llm import Sampling


class SessionOptions(TypedDict, total=False):
    """Options of a completion in a session, which stays with its model."""

    priority: int | None  # 0 = most urgent .. 7; default: inherited
    deadline: float | None  # seconds; an inherited one that ends sooner stays
    max_tokens: int | None  # default 256
    temperature: float | None  # 0, the default: greedy
    top_k: int | None  # 0: all
    top_p: float | None  # (0, 1]
    min_p: float | None  # [0, 1)
    repetition_penalty: float | None  # > 0
    stop: str | Sequence[str] | None  # the text ends before the first of them
    stop_ids: Sequence[int] | None  # besides the model's own
    ignore_stop_ids: bool | None  # go on until max_tokens
    seed: int | None  # default: drawn by the kernel and recorded
    logprobs: int | None  # how many alternatives a token; 0: only its own
    regex: str | None  # that the text keeps to
    on_doubt: Literal["raise", "retry"] | None  # remote models; default raise
    on_budget: Literal["wait", "raise"] | None  # default wait; raise: BudgetExceededError


class LlmOptions(SessionOptions, total=False):
    """Options of a completion."""

    model: str | None  # "name" or "name@version"; default: the one in use


class Prepared(NamedTuple):
    """Options, checked and sorted by where they travel."""

    request: dict[str, Any]  # fields of ipc.llm.LlmRequest
    message: Options  # in the envelope's header


def prepare(options: Mapping[str, Any], structure: Structure | None = None) -> Prepared:
    """Check options and sort them.

    structure: what the text is to keep to.
    Raises:
        SamplingError: unknown, out of range or contradictory. Nothing was sent.
        UsageError: of priority and deadline.
    """
    given = {name: value for name, value in options.items() if value is not None}
    unknown = given.keys() - _KNOWN
    if unknown:
        raise _unknown(min(unknown))
    message = PLAIN
    if given.keys() & {"priority", "deadline", "on_budget"}:
        on_budget = _choice("on_budget", given.get("on_budget", "wait"), ("wait", "raise"))
        priority, deadline = given.get("priority"), given.get("deadline")
        message = Options(priority, deadline, on_budget=cast(OnBudget, on_budget))
    request: dict[str, Any] = {}
    if "model" in given:
        request["model"] = _text("model", given["model"])
    if "on_doubt" in given:
        request["on_doubt"] = _choice("on_doubt", given["on_doubt"], ("raise", "retry"))
    sampling = read_sampling(given, structure.schema if structure else None)
    if sampling:
        request["sampling"] = sampling
    return Prepared(request, message)


def read_sampling(given: Mapping[str, Any], schema: Mapping[str, Any] | None) -> Sampling:
    """Return the part of the options that says how tokens are chosen. Raises SamplingError."""
    sampling: dict[str, Any] = {
        name: check(name, given[name]) for name, check in _CHECKS.items() if name in given
    }
    if schema is not None:
        sampling["schema"] = dict(schema)
    _refuse_contradictions(sampling)
    return cast(Sampling, sampling)


def _refuse_contradictions(sampling: Mapping[str, Any]) -> None:
    if "schema" in sampling and "regex" in sampling:
        raise SamplingError(option="regex", problem="the text keeps to a schema already")
    if sampling.get("ignore_stop_ids"):
        for option in ("stop_ids", "schema", "regex"):
            if sampling.get(option):
                problem = f"{option} ends the text by a stop token, which is to be ignored"
                raise SamplingError(option="ignore_stop_ids", problem=problem)
    if not sampling.get("temperature"):
        for option, neutral in _NEUTRAL.items():
            if sampling.get(option, neutral) != neutral:
                problem = "has no effect without a temperature above 0"
                raise SamplingError(option=option, problem=problem)


def _unknown(option: str) -> SamplingError:
    near = get_close_matches(option, _KNOWN, n=1)
    hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(sorted(_KNOWN))}"
    return SamplingError(option=option, problem=f"there is no such option{hint}")


def _integer(least: int, most: int = (1 << 63) - 1) -> Callable[[str, Any], int]:
    def check(option: str, value: Any) -> int:
        if type(value) is not int or not least <= value <= most:
            is_open = most >> 62 and not (type(value) is int and value > most)
            limit = f"at least {least}" if is_open else f"from {least} to {most}"
            raise SamplingError(option=option, problem=f"is an integer {limit}, not {value!r}")
        return value

    return check


def _number(is_allowed: Callable[[float], bool], wanted: str) -> Callable[[str, Any], float]:
    def check(option: str, value: Any) -> float:
        is_number = type(value) in (int, float) and math.isfinite(value)
        if not is_number or not is_allowed(value):
            raise SamplingError(option=option, problem=f"is a number {wanted}, not {value!r}")
        return float(value)

    return check


def _text(option: str, value: Any) -> str:
    if type(value) is not str or not value:
        raise SamplingError(option=option, problem=f"is a text that is not empty, not {value!r}")
    return value


def _texts(option: str, value: Any) -> list[str]:
    return [
        _text(option, text) for text in _listed(option, [value] if type(value) is str else value)
    ]


def _token_ids(option: str, value: Any) -> list[int]:
    check = _integer(0, (1 << 31) - 1)
    return [check(option, token) for token in _listed(option, value)]


def _listed(option: str, value: Any) -> Sequence[Any]:
    if not isinstance(value, (list, tuple)):
        raise SamplingError(option=option, problem=f"is a list, not {value!r}")
    return value


def _flag(option: str, value: Any) -> bool:
    if type(value) is not bool:
        raise SamplingError(option=option, problem=f"is True or False, not {value!r}")
    return value


def _choice(option: str, value: Any, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise SamplingError(option=option, problem=f"is one of {choices}, not {value!r}")
    return str(value)


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "max_tokens": _integer(1),
    "temperature": _number(lambda value: value >= 0, "of at least 0"),
    "top_k": _integer(0),
    "top_p": _number(lambda value: 0 < value <= 1, "above 0, at most 1"),
    "min_p": _number(lambda value: 0 <= value < 1, "of at least 0, below 1"),
    "repetition_penalty": _number(lambda value: value > 0, "above 0"),
    "stop": _texts,
    "stop_ids": _token_ids,
    "ignore_stop_ids": _flag,
    "seed": _integer(0),
    "logprobs": _integer(0),
    "regex": _text,
}
_NEUTRAL = {"top_k": 0, "top_p": 1.0, "min_p": 0.0}  # what changes nothing
_KNOWN = frozenset(LlmOptions.__annotations__)
