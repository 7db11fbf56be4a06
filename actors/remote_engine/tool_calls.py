"""Tool calls of a completion, put together from whole ones or from streamed fragments."""

from __future__ import annotations

import json
from typing import Any

from actors.remote_engine.failure import LieError
from actors.remote_engine.fields import as_object, list_of, text_of
from ext.structure import check
from ipc.errors import NotEncodableError
from ipc.plain import encode_plain

MAX_CALLS = 128  # of one completion
MAX_DEPTH = 64  # of arguments


class ToolCalls:
    """The calls so far, by the endpoint's index."""

    def __init__(self) -> None:
        self._calls: dict[int, _Call] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, message: dict[str, Any]) -> int:
        """Take the calls, or fragments of some, of a message; return how many characters."""
        size = 0
        for place, item in enumerate(list_of(message, "tool_calls")):
            entry = as_object(item, "a tool call")
            size += self._at(entry.get("index", place)).add(entry)
        return size

    def result(self) -> list[dict[str, Any]]:
        """Return the calls as ipc.llm.Completion has them.

        Raises:
            LieError: a call has no name, or its arguments are no object.
        """
        return [self._calls[index].result() for index in sorted(self._calls)]

    def _at(self, index: Any) -> _Call:
        if type(index) is not int or not 0 <= index < MAX_CALLS:
            raise LieError("a tool call's index is out of range")
        return self._calls.setdefault(index, _Call())


class _Call:
    """One call, in fragments."""

    __slots__ = ("arguments", "id", "name")

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []

    def add(self, entry: dict[str, Any]) -> int:
        function = as_object(entry.get("function") or {}, "function")
        arguments = text_of(function, "arguments")
        # Some endpoints repeat id and name in each fragment; only arguments come in parts.
        self.id = self.id or text_of(entry, "id")
        self.name = self.name or text_of(function, "name")
        self.arguments.append(arguments)
        return len(self.id) + len(self.name) + len(arguments)

    def result(self) -> dict[str, Any]:
        if not self.name:
            raise LieError("a tool call without a name")
        try:
            arguments = json.loads("".join(self.arguments) or "{}")
        except (ValueError, RecursionError):
            arguments = None
        if not isinstance(arguments, dict):
            raise LieError(f"the arguments of the call of {self.name[:64]!r} are no JSON object")
        if not _can_travel(arguments):
            raise LieError(f"the arguments of the call of {self.name[:64]!r} are too deep or large")
        return {"id": self.id, "name": self.name, "arguments": arguments}


def _can_travel(arguments: dict[str, Any]) -> bool:
    """Say whether messages can hold the arguments: JSON knows larger numbers and deeper nests."""
    try:
        return not check(encode_plain(arguments), MAX_DEPTH)
    except NotEncodableError:
        return False
