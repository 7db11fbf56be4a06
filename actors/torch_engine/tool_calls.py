"""Calls of tools in a completion's text, in the forms that models are trained on.

    Hermes, Qwen     <tool_call>{"name": ..., "arguments": {...}}</tool_call>, any number
    Mistral          [TOOL_CALLS][{"name": ..., "arguments": {...}}, ...]
    Llama            {"name": ..., "parameters": {...}}, alone, after <|python_tag|> or not;
                     several with ";" between, or as a list

What is none of these is text. Ids are numbered from the request, so that they are the same
when a text is parsed again.
"""

from __future__ import annotations

import json
import re
from typing import Any

_TAGGED = re.compile(r"<tool_call>\s*(.*?)\s*(?:</tool_call>|$)", re.DOTALL)
_MARKS = ("<|python_tag|>", "[TOOL_CALLS]")


def parse_tool_calls(text: str, request: int) -> list[dict[str, Any]]:
    """Return ipc.llm.Completion's tool_calls; empty if the text holds none."""
    tagged = _TAGGED.findall(text)
    found = [call for part in tagged for call in _values(part)] if tagged else _whole(text)
    calls = [call for call in map(_call, found) if call is not None]
    if len(calls) != len(found):
        return []
    return [
        {"id": f"call_{request}_{index}", "name": name, "arguments": arguments}
        for index, (name, arguments) in enumerate(calls)
    ]


def _whole(text: str) -> list[Any]:
    text = text.strip()
    for mark in _MARKS:
        text = text.removeprefix(mark).strip()
    return _values(text) if text.startswith(("{", "[")) else []


def _values(text: str) -> list[Any]:
    """Return the JSON values that the whole text consists of, lists opened."""
    values: list[Any] = []
    reader = json.JSONDecoder()
    at = 0
    try:
        while at < len(text):
            value, at = reader.raw_decode(text, at)
            values += value if isinstance(value, list) else [value]
            at += len(text[at:]) - len(text[at:].lstrip(" ;\n\t"))
    except ValueError:
        return [None]  # not a call, so the text is text
    return values


def _call(value: Any) -> tuple[str, dict[str, Any]] | None:
    if not isinstance(value, dict):
        return None
    inner = value.get("function", value)
    if not isinstance(inner, dict):
        return None
    name = inner.get("name")
    arguments = inner.get("arguments", inner.get("parameters"))
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            return None
    if not isinstance(name, str) or not isinstance(arguments, dict):
        return None
    return name, arguments
