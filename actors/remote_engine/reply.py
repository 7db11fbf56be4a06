"""Reads an answer with status 200, whole or as a stream, into an Answer.

A stream may end with ``[DONE]``, or without it after its finish reason. What breaks after the
finish reason changes nothing: the completion is known.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from actors.remote_engine import chat_reply, text_reply
from actors.remote_engine.answer import Answer
from actors.remote_engine.failure import CallFailure, LieError
from actors.remote_engine.fields import error_text, read_json
from actors.remote_engine.http_client import HttpAnswer
from actors.remote_engine.options import Api
from actors.remote_engine.sse import SseReader

JSON = "application/json"
EVENTS = "text/event-stream"
RAW_PER_LIMIT = 4  # a stream's wrapping may be so many times its content

Emit = Callable[[str], None]
AddChunk = Callable[[Answer, dict[str, Any]], None]


class BrokenReplyError(Exception):
    """The endpoint ended the answer before the completion had ended."""


async def read_whole(http: HttpAnswer, api: Api, answer: Answer) -> None:
    """Read an answer that is one JSON object.

    Raises:
        LieError: it breaks the protocol. CallFailure: it broke, or fell silent.
    """
    http.expect(JSON)
    reply = read_json(await http.read(answer.limit))
    if reply.get("error"):
        raise LieError(f"an error in place of an answer: {error_text(reply)}")
    (chat_reply if api == "chat" else text_reply).add_whole(answer, reply)


async def read_stream(http: HttpAnswer, api: Api, answer: Answer, emit: Emit) -> None:
    """Read an answer that is a stream of events. emit: is given new text as it comes.

    Raises:
        LieError, CallFailure: as ``read_whole``. BrokenReplyError: it ended early.
    """
    http.expect(EVENTS)
    chunks = http.chunks()
    add = (chat_reply if api == "chat" else text_reply).add_chunk
    try:
        was_last = await _take_chunks(chunks, add, answer, emit)
    except (CallFailure, BrokenReplyError):
        if not answer.is_finished:
            raise
        return
    if was_last:
        await http.let_end(chunks)
    elif not answer.is_finished:
        raise BrokenReplyError("the stream ended before the completion did")


async def _take_chunks(
    chunks: AsyncIterator[bytes], add: AddChunk, answer: Answer, emit: Emit
) -> bool:
    """Take bytes to the end. Returns: whether an event said that it was the last."""
    events, num_bytes, max_bytes = SseReader(), 0, answer.limit * RAW_PER_LIMIT
    async for chunk in chunks:
        num_bytes += len(chunk)
        if num_bytes > max_bytes:
            raise LieError(f"a stream of more than {max_bytes} bytes")
        was_last = _take_events(events.feed(chunk), add, answer)
        if text := answer.take_text():
            emit(text)
        if was_last:
            return True
    return False


def _take_events(events: Iterator[str], add: AddChunk, answer: Answer) -> bool:
    for event in events:
        if not (data := event.strip()):
            continue  # a sign of life
        if data == "[DONE]":
            return True
        chunk = read_json(data)
        if chunk.get("error"):
            raise BrokenReplyError(f"an error within the stream: {error_text(chunk)}")
        add(answer, chunk)
    return False
