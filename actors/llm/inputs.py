"""What a model is given, as people write it: a text, token ids, messages, tools.

A text given to ``complete`` is raw; given to ``chat`` it is one message of the user's.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from actors.llm.tools import declare
from ipc.errors import BadPromptError, SchemaError
from ipc.llm import LlmInput

Prompt = str | Sequence[int]  # text, or token ids
Message = Mapping[str, Any]  # {"role": ..., "content": ...}
Messages = str | Sequence[Message]
Tools = Sequence[Callable[..., Any] | Mapping[str, Any]]


def read_prompt(prompt: Prompt) -> LlmInput:
    """Return raw input. Raises BadPromptError; nothing was sent."""
    if isinstance(prompt, str):
        return LlmInput(prompt=_encodable(_not_empty(prompt, "prompt")))
    try:
        if isinstance(prompt, (bytes, bytearray)):  # ``array`` would take them for its own memory
            raise TypeError
        ids = array("i", _not_empty(prompt, "list of token ids"))
    except (TypeError, OverflowError):
        problem = f"a prompt is a text or a list of token ids, not {type(prompt).__name__}"
        raise BadPromptError(problem=problem) from None
    return LlmInput(ids=ids.tobytes())


def read_messages(messages: Messages) -> list[dict[str, Any]]:
    """Return messages as they travel. Raises BadPromptError; nothing was sent."""
    if isinstance(messages, str):
        return [{"role": "user", "content": _not_empty(messages, "message")}]
    if not isinstance(messages, Sequence):
        problem = f"messages are a list or one text, not {type(messages).__name__}"
        raise BadPromptError(problem=problem)
    return [_read_message(message) for message in _not_empty(messages, "list of messages")]


def chat_input(messages: Sequence[dict[str, Any]], tools: Tools | None) -> LlmInput:
    """Return the input of a chat. Raises SchemaError for a tool that cannot be declared."""
    given = LlmInput(messages=list(messages))
    if tools:
        if not isinstance(tools, Sequence) or isinstance(tools, str):
            problem = "tools are a list of functions or declarations"
            raise SchemaError(where=repr(tools)[:80], problem=problem)
        given["tools"] = [declare(tool) for tool in tools]
    return given


def read_input(given: Prompt | Sequence[Message], tools: Tools | None = None) -> LlmInput:
    """Return a raw prompt or messages, whichever it is. Raises BadPromptError, SchemaError."""
    is_listed = isinstance(given, Iterable) and not isinstance(given, str)
    is_chat = is_listed and any(isinstance(one, Mapping) for one in given)
    if is_chat or tools:
        return chat_input(read_messages(given), tools)  # type: ignore[arg-type]
    return read_prompt(given)  # type: ignore[arg-type]


def _read_message(message: Any) -> dict[str, Any]:
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        problem = f"a message is {{'role': ..., 'content': ...}}, not {str(message)[:80]!r}"
        raise BadPromptError(problem=problem)
    return dict(message)


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        problem = f"the prompt is no Unicode text, at character {error.start}: was it UTF-8?"
        raise BadPromptError(problem=problem) from None
    return text


def _not_empty(value: Any, what: str) -> Any:
    if hasattr(value, "__len__") and not len(value):
        raise BadPromptError(problem=f"the {what} is empty")
    return value
