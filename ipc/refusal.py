"""Says why a value cannot be put into a message, and where in the message it is.

What it is not: the encoder (ipc/payload.py), which only calls this once it has failed.
Cost: a walk over the value that could not be sent.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import PurePath
from typing import Any

PLAIN = (
    "send None, bool, int, float, str, bytes, list, dict, set, datetime, UUID, Decimal, "
    "an array, a tensor or an actor reference"
)


def _is_array_like(value: Any) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.ndarray)


# The first that fits speaks.
_HINTS: tuple[tuple[Callable[[Any], bool], str], ...] = (
    (
        lambda value: dataclasses.is_dataclass(value) and not isinstance(value, type),
        "give the handler's parameter this type, or send dataclasses.asdict(...)",
    ),
    (
        lambda value: hasattr(value, "model_dump"),
        "give the handler's parameter this type, or send model_dump()",
    ),
    (lambda value: isinstance(value, Enum), "send its value"),
    (lambda value: isinstance(value, PurePath), "send str(path)"),
    (inspect.isawaitable, "await it first"),
    (
        lambda value: isinstance(value, BaseException),
        "raise it: the asker gets it as a typed error; or send str(...)",
    ),
    (
        lambda value: callable(value),
        "code does not travel: send the name of a handler, or spawn an actor",
    ),
    (lambda value: isinstance(value, Iterator), "make a list of it, or stream from a handler"),
    (_is_array_like, "send numpy.asarray(...): an array subclass would lose what it adds"),
    (lambda value: isinstance(value, complex), "send [real, imag]"),
)


def type_name(value: Any) -> str:
    """Return the type's name, with its module unless built in."""
    cls = type(value)
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__name__}"


def hint(value: Any) -> str:
    """Return what to send in place of the value."""
    return next((text for fits, text in _HINTS if fits(value)), PLAIN)


def locate(body: Any, culprit: Any) -> str:
    """Return where in ``body`` the very object ``culprit`` lies, e.g. ``at [1][0]['key']``."""
    path = _path(body, culprit, set())
    if path is None:
        return "somewhere in it"
    return f"at {''.join(path)}" if path else "the value itself"


def _children(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, child in value.items():
            yield " key", key
            yield f"[{key!r}]", child
    elif isinstance(value, list | tuple):
        yield from ((f"[{index}]", child) for index, child in enumerate(value))
    elif isinstance(value, set | frozenset):
        yield from ((" element", child) for child in value)


def _path(value: Any, culprit: Any, seen: set[int]) -> list[str] | None:
    if value is culprit:
        return []
    if id(value) in seen:
        return None
    seen.add(id(value))
    for step, child in _children(value):
        rest = _path(child, culprit, seen)
        if rest is not None:
            return [step, *rest]
    return None
