"""Answers of ``/chat/completions``: whole ones, and chunks of streamed ones.

Source: OpenAI API reference, "The chat completion object" and "... chunk object".
"""

from __future__ import annotations

from typing import Any

from actors.remote_engine.answer import Answer
from actors.remote_engine.failure import LieError
from actors.remote_engine.fields import as_object, list_of, number_of, text_of


def add_whole(answer: Answer, reply: dict[str, Any]) -> None:
    """Take a whole reply."""
    _add(answer, reply, "message")
    if not list_of(reply, "choices"):
        raise LieError("there are no choices")


def add_chunk(answer: Answer, chunk: dict[str, Any]) -> None:
    """Take one event of a stream."""
    _add(answer, chunk, "delta")


def _add(answer: Answer, fields: dict[str, Any], part: str) -> None:
    for item in list_of(fields, "choices"):
        choice = as_object(item, "a choice")
        if choice.get("index", 0) != 0:
            raise LieError("a second choice, and one was asked for")
        message = as_object(choice.get(part) or {}, part)
        if text_of(message, "refusal"):
            raise LieError("the model refused to answer")
        answer.add_text(text_of(message, "content"))
        answer.add_tool_calls(message)
        answer.add_logprobs(_logprobs(choice))
        answer.finish(choice.get("finish_reason"))
    answer.add_usage(fields.get("usage"))


def _logprobs(choice: dict[str, Any]) -> list[dict[str, Any]]:
    held = as_object(choice.get("logprobs") or {}, "logprobs")
    return [_logprob(as_object(item, "a logprob")) for item in list_of(held, "content")]


def _logprob(item: dict[str, Any]) -> dict[str, Any]:
    tops = [as_object(top, "a logprob") for top in list_of(item, "top_logprobs")]
    return {
        "id": text_of(item, "token"),
        "logprob": number_of(item.get("logprob"), "a logprob"),
        "top": [[text_of(top, "token"), number_of(top.get("logprob"), "it")] for top in tops],
    }
