"""Answers of the older ``/completions``: whole ones, and chunks of streamed ones, which look alike.

Source: OpenAI API reference, "The completion object" (legacy).
"""

from __future__ import annotations

from typing import Any

from actors.remote_engine.answer import Answer
from actors.remote_engine.failure import LieError
from actors.remote_engine.fields import as_object, list_of, number_of, text_of


def add_whole(answer: Answer, reply: dict[str, Any]) -> None:
    """Take a whole reply."""
    add_chunk(answer, reply)
    if not list_of(reply, "choices"):
        raise LieError("there are no choices")


def add_chunk(answer: Answer, chunk: dict[str, Any]) -> None:
    """Take one event of a stream."""
    for item in list_of(chunk, "choices"):
        choice = as_object(item, "a choice")
        if choice.get("index", 0) != 0:
            raise LieError("a second choice, and one was asked for")
        answer.add_text(text_of(choice, "text"))
        answer.add_logprobs(_logprobs(choice))
        answer.finish(choice.get("finish_reason"))
    answer.add_usage(chunk.get("usage"))


def _logprobs(choice: dict[str, Any]) -> list[dict[str, Any]]:
    held = as_object(choice.get("logprobs") or {}, "logprobs")
    tokens, values = list_of(held, "tokens"), list_of(held, "token_logprobs")
    tops = list_of(held, "top_logprobs") or [{}] * len(tokens)
    if not len(tokens) == len(values) == len(tops):
        raise LieError("the lists of logprobs differ in length")
    return [
        {
            "id": text_of({"token": token}, "token"),
            "logprob": number_of(value, "a logprob"),
            "top": _alternatives(as_object(top or {}, "top_logprobs")),
        }
        for token, value, top in zip(tokens, values, tops, strict=True)
    ]


def _alternatives(top: dict[str, Any]) -> list[list[Any]]:
    return [
        [text_of({"token": token}, "token"), number_of(value, "a logprob")]
        for token, value in top.items()
    ]
