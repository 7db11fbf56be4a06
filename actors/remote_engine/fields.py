"""Fields of an endpoint's JSON, each with the type it must have."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

from actors.remote_engine.failure import LieError


def read_json(text: str | bytes) -> dict[str, Any]:
    """Return the object that a text is.

    Raises:
        LieError: it is none.
    """
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise LieError("what should be JSON is not") from None
    return as_object(value, "the answer")


def error_text(fields: dict[str, Any]) -> str:
    """Return the text of an error object, in any of the forms in use; "" if there is none."""
    error = fields.get("error")
    if isinstance(error, dict):
        error = error.get("message")
    return error if isinstance(error, str) else str(fields.get("message") or "")


def as_object(value: Any, what: str) -> dict[str, Any]:
    """Return the value if it is an object."""
    if not isinstance(value, dict):
        raise LieError(f"{what} is no object")
    return value


def list_of(fields: dict[str, Any], name: str) -> list[Any]:
    """Return a list; absent or null is empty."""
    value = fields.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise LieError(f"{name} is no list")
    return value


def text_of(fields: dict[str, Any], name: str) -> str:
    """Return a text; absent or null is empty."""
    value = fields.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise LieError(f"{name} is no text")
    if not value.isascii() and any("\ud800" <= each <= "\udfff" for each in value):
        raise LieError(f"{name} holds half a character")
    return value


def count_of(fields: dict[str, Any], name: str, limit: int) -> int:
    """Return a number that counts something."""
    value = fields.get(name)
    if type(value) is not int or not 0 <= value <= limit:
        raise LieError(f"{name} is no count, or beyond belief")
    return value


def number_of(value: Any, what: str) -> float:
    """Return a finite number."""
    if type(value) not in (int, float) or not abs(value) <= 1e300 or not math.isfinite(value):
        raise LieError(f"{what} is no number")
    return float(value)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
