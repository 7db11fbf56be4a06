"""An input's messages and tools in the form of the HTTP API.

They pass as they are, but for the tool calls that an assistant's message repeats: ours have
arguments as an object (ipc.llm.Completion), the API has them as text inside a function.
"""

from __future__ import annotations

import json
from typing import Any

from ipc.errors import BadPromptError


def to_api(messages: Any) -> list[dict[str, Any]]:
    """Return the messages for a request's body.

    Raises:
        BadPromptError: they are no conversation.
    """
    if not isinstance(messages, list) or not messages:
        raise BadPromptError(problem="messages is a list of at least one message")
    return [_message(message) for message in messages]


def check_tools(tools: Any) -> list[dict[str, Any]]:
    """Return the tools, which are in the API's form already."""
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise BadPromptError(problem="tools is a list of function declarations")
    return tools


def to_json(value: Any) -> str:
    """Return a value of an agent's as JSON.

    Raises:
        BadPromptError: it has no form in JSON.
    """
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as problem:
        raise BadPromptError(problem=f"it has no form in JSON: {problem}") from None


def _message(message: Any) -> dict[str, Any]:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise BadPromptError(problem="a message is an object with a role")
    calls = message.get("tool_calls")
    if not calls:
        return message
    if not isinstance(calls, list):
        raise BadPromptError(problem="tool_calls of a message is a list")
    return {**message, "tool_calls": [_tool_call(call) for call in calls]}


def _tool_call(call: Any) -> dict[str, Any]:
    function = call.get("function", call) if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise BadPromptError(problem="a tool call has a name and arguments")
    arguments = function.get("arguments", {})
    if not isinstance(arguments, str):
        arguments = to_json(arguments)
    named = {"name": function["name"], "arguments": arguments}
    return {"id": str(call.get("id", "")), "type": "function", "function": named}
