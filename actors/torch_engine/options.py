"""How one request's tokens are chosen: ipc.llm.Sampling, checked and completed."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from ipc.errors import SamplingError
from ipc.llm import Sampling

DEFAULT_MAX_TOKENS = 256
MAX_LOGPROBS = 64
MAX_STOPS = 64


@dataclass(frozen=True, slots=True)
class Options:
    """A complete Sampling."""

    max_tokens: int = DEFAULT_MAX_TOKENS
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    stop: tuple[str, ...] = ()
    stop_ids: tuple[int, ...] = ()
    ignore_stop_ids: bool = False
    seed: int = 0
    logprobs: int | None = None
    schema: str = ""  # JSON
    regex: str = ""

    @property
    def is_plain(self) -> bool:
        """Say whether the most likely token of the model is taken, and nothing else is asked."""
        return (
            self.temperature == 0
            and self.repetition_penalty == 1.0
            and self.logprobs is None
            and not self.schema
            and not self.regex
        )


def options_of(sampling: Sampling) -> Options:
    """Return the options.

    Raises:
        SamplingError: one is unknown, out of range, or contradicts another.
    """
    for name in sampling:
        if name not in _CHECKS:
            raise SamplingError(option=name, problem=f"unknown; there are {', '.join(_CHECKS)}")
    fields: dict[str, Any] = {}
    for name, value in sampling.items():
        problem = _CHECKS[name](value)
        if problem:
            raise SamplingError(option=name, problem=f"{problem}, not {value!r}")
        fields[name] = value
    if fields.get("schema") is not None and fields.get("regex"):
        raise SamplingError(option="schema", problem="give it or regex, not both")
    if fields.get("ignore_stop_ids") and fields.get("stop_ids"):
        raise SamplingError(option="stop_ids", problem="ignore_stop_ids says to ignore them")
    fields["stop"] = tuple(fields.get("stop", ()))
    fields["stop_ids"] = tuple(fields.get("stop_ids", ()))
    if "schema" in fields:
        fields["schema"] = json.dumps(fields["schema"])
    return Options(**fields)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _whole(low: int, high: int | None = None) -> Any:
    text = f"must be a whole number from {low}" + ("" if high is None else f" to {high}")
    return lambda v: "" if _is_int(v) and v >= low and (high is None or v <= high) else text


def _real(text: str, fits: Any) -> Any:
    return lambda v: "" if _is_number(v) and fits(v) else f"must be a number {text}"


def _list_of(what: str, fits: Any) -> Any:
    text = f"must be a list of at most {MAX_STOPS} {what}"
    return lambda v: (
        "" if isinstance(v, list) and len(v) <= MAX_STOPS and all(map(fits, v)) else text
    )


_CHECKS: dict[str, Any] = {
    "max_tokens": _whole(1),
    "temperature": _real("from 0", lambda v: v >= 0),
    "top_k": _whole(0),
    "top_p": _real("above 0, up to 1", lambda v: 0 < v <= 1),
    "min_p": _real("from 0, below 1", lambda v: 0 <= v < 1),
    "repetition_penalty": _real("above 0", lambda v: v > 0),
    "stop": _list_of("texts that are not empty", lambda v: isinstance(v, str) and v != ""),
    "stop_ids": _list_of("token ids", lambda v: _is_int(v) and v >= 0),
    "ignore_stop_ids": lambda v: "" if isinstance(v, bool) else "must be true or false",
    "seed": _whole(0, 2**64 - 1),
    "logprobs": _whole(0, MAX_LOGPROBS),
    "schema": lambda v: "" if isinstance(v, dict) else "must be a JSON object",
    "regex": lambda v: "" if isinstance(v, str) and v else "must be a text",
}
