"""How many tokens an input for a remote model may have, which only its endpoint can count.

An estimate, meant to be high rather than low: one token for three bytes of UTF-8. English text
has about four bytes a token, program text about three and a half, Chinese three or more; random
letters and rare scripts have fewer, and what such a prompt takes beyond the estimate is booked
when the endpoint has counted it.

Source: the bytes a token are those of the vocabularies in use (cl100k, o200k, Llama 3, Qwen 2).
"""

from __future__ import annotations

from typing import Any

from ipc.llm import LlmInput

BYTES_PER_TOKEN = 3
TOKENS_PER_MESSAGE = 8  # role and delimiters
TOKENS_PER_IMAGE = 1024  # or sound: any part of a message that is not text


def estimate_tokens(given: LlmInput) -> int:
    """Return the estimate; at least 1."""
    total = _of_text(given.get("prompt", "")) + _of_value(given.get("tools", []))
    for message in given.get("messages", []):
        total += TOKENS_PER_MESSAGE + _of_message(message)
    return max(1, total)


def _of_message(message: dict[str, Any]) -> int:
    content = message.get("content")
    rest = {key: value for key, value in message.items() if key not in ("role", "content")}
    if not isinstance(content, list):
        return _of_value(content) + _of_value(rest)
    return sum(map(_of_part, content)) + _of_value(rest)


def _of_part(part: Any) -> int:
    if isinstance(part, dict) and part.get("type") != "text":
        return TOKENS_PER_IMAGE
    return _of_value(part)


def _of_value(value: Any) -> int:
    """Add up a value as it would stand in JSON, roughly."""
    if isinstance(value, dict):
        return sum(_of_text(str(key)) + 2 + _of_value(item) for key, item in value.items())
    if isinstance(value, list):
        return sum(1 + _of_value(item) for item in value)
    return 0 if value is None else _of_text(str(value))


def _of_text(text: str) -> int:
    return -(-len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN)
