"""Arguments and results, checked against a handler's type hints.

Where a hint is a plain class, the value's own type decides and nothing else runs. int, float,
str, bytes and bool are taken strictly (an int passes for a float; nothing is parsed from text).
Every other hint is pydantic's: dataclasses, models and TypedDicts are rebuilt from the dicts
that they travel as. What has no hint is not checked.

``to_plain`` is the other direction: it turns such objects into what ipc/payload.py can encode.

Cost: below 0.2 us a scalar argument; pydantic's cost for the rest; compiled once a class.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
import types
import typing
from collections import abc
from collections.abc import Callable
from enum import Enum
from typing import Any

import typing_extensions

from actors.reference import ActorRef
from ipc.errors import SchemaError

_SCALARS = (bool, bytes, float, int, str)
_STREAMS = (abc.AsyncIterator, abc.AsyncGenerator, abc.AsyncIterable)
_MAX_SHOWN = 80  # characters of a value in an error


class Check:
    """Checks values against one hint. ``exact``: the type that needs no further look."""

    __slots__ = ("_hint", "_is_scalar", "_validate", "exact")

    def __init__(self, hint: Any) -> None:
        self._hint = hint
        self._is_scalar = hint in _SCALARS
        self._validate: Callable[[Any], Any] | None = None
        self.exact: type | None = hint if isinstance(hint, type) and hint not in _LOOSE else None
        if typing.get_origin(hint) is ActorRef:
            self.exact = ActorRef

    def __call__(self, value: Any, where: str) -> Any:
        """Return the value as the hint wants it.

        Raises:
            SchemaError: it does not fit.
        """
        if type(value) is self.exact:
            return value
        if self._is_scalar:
            return self._scalar(value, where)
        if self._validate is None:
            self._validate = _adapter(self._hint)
        try:
            return self._validate(value)
        except (ValueError, AssertionError) as error:  # the latter by users' validators
            raise SchemaError(where=where, problem=_explain(error)) from None

    def _scalar(self, value: Any, where: str) -> Any:
        if self._hint is float and type(value) is int:
            return float(value)
        if isinstance(value, self._hint) and not isinstance(value, bool):
            return value
        shown = repr(value)[:_MAX_SHOWN]
        problem = f"expected {self._hint.__name__}, got {type(value).__name__} {shown}"
        raise SchemaError(where=where, problem=problem)


# A value of these types may still hold the wrong thing inside: left to pydantic.
_LOOSE = (list, dict, tuple, set, frozenset, object)


class Signature:
    """The compiled hints of one handler, or of an actor's constructor."""

    __slots__ = ("_checked", "_checks", "_most", "_needed", "_result", "_signature", "where")

    def __init__(self, function: Callable[..., Any], where: str) -> None:
        """Compile. where: ``Class.handler``, for errors. The first parameter is ``self``."""
        parameters = list(inspect.signature(function).parameters.values())[1:]
        hints = _hints(function)
        self.where = where
        self._signature = inspect.Signature(parameters)
        by_place = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        positional = [p for p in parameters if p.kind in by_place]
        is_simple = len(positional) == len(parameters)
        self._needed = sum(p.default is p.empty for p in positional) if is_simple else sys.maxsize
        self._most = len(positional)
        self._checks = {p.name: make_check(hints.get(p.name, Any)) for p in parameters}
        by_name = [(p.name, self._checks[p.name]) for p in positional]
        self._checked = [
            (place, name, check) for place, (name, check) in enumerate(by_name) if check is not None
        ]
        self._result = make_check(_result_hint(hints.get("return", Any)))

    def bind(self, args: list[Any], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        """Return checked ``(args, kwargs)`` for the call.

        Raises:
            SchemaError: missing, unexpected or ill-fitting; it says which.
        """
        if kwargs or not self._needed <= len(args) <= self._most:
            return self._bind_slowly(args, kwargs)
        for place, name, check in self._checked:
            if place >= len(args):
                break  # the rest is left to the defaults
            if type(args[place]) is not check.exact:
                args[place] = check(args[place], f"{self.where}, argument {name!r}")
        return args, kwargs

    def _bind_slowly(self, args: list[Any], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            problem = f"{error}; it takes {self._signature}"
            raise SchemaError(where=self.where, problem=problem) from None
        for name, value in bound.arguments.items():
            check = self._checks[name]
            if check is not None:
                kind = self._signature.parameters[name].kind
                bound.arguments[name] = self._check_bound(check, name, value, kind)
        return bound.args, bound.kwargs

    def _check_bound(self, check: Check, name: str, value: Any, kind: Any) -> Any:
        where = f"{self.where}, argument {name!r}"
        if kind is inspect.Parameter.VAR_POSITIONAL:
            return tuple(check(item, where) for item in value)
        if kind is inspect.Parameter.VAR_KEYWORD:
            return {key: check(item, where) for key, item in value.items()}
        return check(value, where)

    def result(self, value: Any) -> Any:
        """Return the checked result, or item of a stream. Raises SchemaError."""
        check = self._result
        if check is None or type(value) is check.exact:
            return value
        return check(value, f"{self.where}, result")

    def __str__(self) -> str:
        return str(self._signature)


def make_check(hint: Any) -> Check | None:
    """Return the check for a hint; None when everything fits."""
    if hint is Any or hint is inspect.Parameter.empty or isinstance(hint, typing.TypeVar):
        return None
    return Check(type(None) if hint is None else hint)


def to_plain(value: Any) -> Any:
    """Return the value with dataclasses, models, enums and named tuples as plain values."""
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = (field.name for field in dataclasses.fields(value))
        return {name: to_plain(getattr(value, name)) for name in names}
    if isinstance(value, dict):
        return {to_plain(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return _plain_set(value)
    # Models exist only where pydantic has been imported by the user.
    pydantic = sys.modules.get("pydantic")
    if pydantic is not None and isinstance(value, pydantic.BaseModel):
        return to_plain(dict(value))
    return value


def _plain_set(value: Any) -> Any:
    """Return the set with its enums as values; one of dataclasses cannot be a set of dicts."""
    try:
        return type(value)(map(to_plain, value))
    except TypeError:
        return value


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the hints that can be resolved; imports under TYPE_CHECKING cannot."""
    try:
        return typing.get_type_hints(function, include_extras=True)
    except Exception:
        return {name: hint for name, hint in _one_by_one(function) if hint is not Any}


def _one_by_one(function: Callable[..., Any]) -> typing.Iterator[tuple[str, Any]]:
    """Yield each hint as it resolves by itself; Any for one that does not."""
    for name, hint in getattr(function, "__annotations__", {}).items():
        alone = types.SimpleNamespace(
            __annotations__={name: hint}, __globals__=getattr(function, "__globals__", {})
        )
        try:
            yield name, typing.get_type_hints(alone, include_extras=True)[name]
        except Exception:  # whatever evaluating a user's hint may raise
            yield name, Any


def _result_hint(hint: Any) -> Any:
    if typing.get_origin(hint) in _STREAMS:
        return (typing.get_args(hint) or (Any,))[0]
    return hint


def _adapter(hint: Any) -> Callable[[Any], Any]:
    # Imported here: most handlers take plain classes only, and pydantic costs memory and time.
    from pydantic import ConfigDict, PydanticUserError, TypeAdapter

    hint = _modern(hint)
    try:
        config = ConfigDict(arbitrary_types_allowed=True)
        return TypeAdapter(hint, config=config).validate_python
    except PydanticUserError as error:
        if error.code != "type-adapter-config-unused":
            raise
        # models, dataclasses and typed dicts bring a configuration of their own
        return TypeAdapter(hint).validate_python


def _modern(hint: Any) -> Any:
    """Return the hint with typing.TypedDict as pydantic wants it on Python 3.11."""
    if sys.version_info >= (3, 12):
        return hint
    if typing.is_typeddict(hint):
        fields = typing.get_type_hints(hint, include_extras=True)
        optional = hint.__optional_keys__
        return typing_extensions.TypedDict(  # type: ignore[operator]
            hint.__name__,
            {
                name: typing_extensions.NotRequired[_modern(field)]
                if name in optional
                else _modern(field)
                for name, field in fields.items()
            },
        )
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (None, typing.Literal, typing.Annotated):
        return hint
    modern = tuple(map(_modern, arguments))
    if modern == arguments:
        return hint
    return typing.Union[modern] if origin in _UNIONS else origin[modern]  # noqa: UP007


_UNIONS = (typing.Union, types.UnionType)


def _explain(error: Exception) -> str:
    errors = getattr(error, "errors", None)
    if errors is None:
        return str(error)
    lines = []
    for item in errors(include_url=False):
        place = ".".join(str(part) for part in item["loc"])
        shown = repr(item["input"])[:_MAX_SHOWN]
        lines.append(f"{place + ': ' if place else ''}{item['msg']} (got {shown})")
    return "; ".join(lines)
