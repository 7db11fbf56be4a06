"""Structured output: from a type, or a JSON schema, to what the model is held to, and back.

A type is anything pydantic can build: models, dataclasses, TypedDicts, ``list[int]``. The model is
held to its fields and may add none (a small one would go on for ever), unless the type allows them.
A schema given as a dict is sent as it is, and the text is read as JSON without further checks.

Cost: about 0.3 ms for a type, once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Protocol

from ipc.errors import BadGrammarError, SchemaError

# Where a JSON schema holds others: by name, in a list, alone.
_BY_NAME, _LISTED, _ALONE = {"properties", "$defs"}, {"anyOf", "oneOf", "prefixItems"}, {"items"}


class Structure(Protocol):
    """What a text is held to."""

    schema: Mapping[str, Any]

    def parse(self, text: str) -> Any:
        """Return what the text says. Raises SchemaError."""
        ...


def read_structure(schema: Any) -> Structure | None:
    """Return the structure for a type or a JSON schema.

    Raises:
        BadGrammarError: it is neither.
    """
    if schema is None:
        return None
    if isinstance(schema, Mapping):
        return _Plain(schema)
    try:
        return _typed(schema)
    except TypeError:  # not hashable: no type
        raise _no_schema(schema, "it is neither a type nor a JSON schema") from None


class _Plain:
    """A JSON schema."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self.schema = schema

    def parse(self, text: str) -> Any:
        try:
            return json.loads(text)
        except ValueError as error:
            raise _misfit(text, str(error)) from None


class _Typed:
    """A type of Python's."""

    def __init__(self, wanted: Any) -> None:
        # Imported here: pydantic costs memory and time, and most completions are texts.
        from pydantic import PydanticUserError, TypeAdapter
        from pydantic_core import PydanticSerializationError

        try:
            self._adapter: TypeAdapter[Any] = TypeAdapter(wanted)
            self.schema: Mapping[str, Any] = closed(self._adapter.json_schema())
        except (PydanticUserError, PydanticSerializationError, NameError) as error:
            raise _no_schema(wanted, str(error).splitlines()[0]) from None

    def parse(self, text: str) -> Any:
        try:
            return self._adapter.validate_json(text)
        except ValueError as error:
            raise _misfit(text, str(error)) from None


def closed(schema: Any) -> Any:
    """Return a JSON schema whose objects have only the properties that it names."""
    if not isinstance(schema, dict):
        return schema
    found = dict(schema)
    for key in found.keys() & _BY_NAME:
        found[key] = {name: closed(part) for name, part in found[key].items()}
    for key in found.keys() & _LISTED:
        found[key] = [closed(part) for part in found[key]]
    for key in found.keys() & _ALONE:
        found[key] = closed(found[key])
    if "properties" in found:
        found.setdefault("additionalProperties", False)
    return found


@lru_cache(maxsize=256)
def _typed(wanted: Any) -> _Typed:
    return _Typed(wanted)


def _no_schema(wanted: Any, problem: str) -> BadGrammarError:
    return BadGrammarError(what=f"schema {str(wanted)[:80]}", problem=problem)


def _misfit(text: str, problem: str) -> SchemaError:
    return SchemaError(where=f"the completion {text[:80]!r}", problem=problem)
