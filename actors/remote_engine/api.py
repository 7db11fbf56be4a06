"""One call of an endpoint's API, from its request to its completion.

Nothing is tried again, with one exception: if the key was refused (401) and what it is read from
holds another now, the call goes out once more with that.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

from actors.remote_engine import chat_reply, text_reply
from actors.remote_engine.answer import Answer, answer_limit
from actors.remote_engine.endpoint import Endpoint
from actors.remote_engine.failure import (
    CallFailure,
    LieError,
    Proof,
    broken,
    lied,
    readable,
    refused,
    too_late,
)
from actors.remote_engine.fields import read_json
from actors.remote_engine.http_client import HttpAnswer, HttpClient
from actors.remote_engine.key import Key
from actors.remote_engine.request_body import RequestBody, build_body
from actors.remote_engine.sse import SseReader
from ipc.engine import RemoteCall
from ipc.errors import BadModelError, UsageError
from ipc.llm import Sampling

JSON = "application/json"
EVENTS = "text/event-stream"
UNAUTHORIZED = 401
MAX_REASON = 64 << 10  # bytes of a refusal that are looked at
REASON_S = 5.0  # and how long
RAW_PER_LIMIT = 4  # a stream's wrapping may be so many times its content

Emit = Callable[[str], None]


class RemoteApi:
    """See the module head."""

    def __init__(self, endpoint: Endpoint, key: Key, client: HttpClient) -> None:
        self._endpoint = endpoint
        self._key = key
        self._client = client

    async def complete(self, call: RemoteCall, emit: Emit) -> dict[str, Any]:
        """Return the body of DONE. emit: is given new text as it comes, if the call streams.

        Raises:
            CallFailure: it came to nothing.
        """
        sampling = call.get("sampling", Sampling())
        try:
            body = build_body(
                self._endpoint.model, call["input"], sampling, stream=call.get("stream", False)
            )
        except UsageError as problem:
            raise CallFailure(Proof.FINAL, problem) from None
        remaining_ns = call.get("remaining_ns")
        try:
            async with asyncio.timeout(None if remaining_ns is None else remaining_ns / 1e9):
                return await self._with_key(body, call, emit)
        except TimeoutError:
            raise too_late(self._endpoint) from None

    async def _with_key(self, body: RequestBody, call: RemoteCall, emit: Emit) -> dict[str, Any]:
        used = self._key.headers()
        try:
            return await self._exchange(body, call, emit)
        except _KeyRefusedError as refusal:
            if not self._has_other_key(used):
                raise refusal.failure from None
        try:
            return await self._exchange(body, call, emit)
        except _KeyRefusedError as refusal:
            raise refusal.failure from None

    def _has_other_key(self, used: dict[str, str]) -> bool:
        try:
            self._key.read()
        except BadModelError:
            return False
        return self._key.headers() != used

    async def _exchange(self, body: RequestBody, call: RemoteCall, emit: Emit) -> dict[str, Any]:
        stream = call.get("stream", False)
        async with self._client.post(body, accept=EVENTS if stream else JSON) as http:
            if http.status != 200:
                raise await self._refusal(http)
            answer = Answer(limit := answer_limit(call.get("sampling", Sampling())))
            try:
                if stream:
                    return await self._read_stream(http, body, answer, emit, limit)
                return await self._read_whole(http, body, answer, limit)
            except LieError as problem:
                said = readable(self._key.scrub(str(problem)))
                raise lied(self._endpoint, http.status, said) from None

    # --- answers --------------------------------------------------------------------------

    async def _read_whole(
        self, http: HttpAnswer, body: RequestBody, answer: Answer, limit: int
    ) -> dict[str, Any]:
        http.expect(JSON)
        reply = read_json(await http.read(limit))
        if reply.get("error"):
            raise LieError(f"an error in place of an answer: {_message(reply)}")
        (chat_reply if body.api == "chat" else text_reply).add_whole(answer, reply)
        return answer.completion()

    async def _read_stream(
        self, http: HttpAnswer, body: RequestBody, answer: Answer, emit: Emit, limit: int
    ) -> dict[str, Any]:
        http.expect(EVENTS)
        chunks = http.chunks()
        try:
            is_whole = await self._take_events(chunks, body, answer, emit, limit)
        except CallFailure:
            if not answer.is_finished:
                raise
            return answer.completion()  # what broke came after all that matters
        if is_whole:
            await http.let_end(chunks)
        elif not answer.is_finished:
            problem = "the stream ended before the completion did"
            raise broken(self._endpoint, http.status, problem)
        return answer.completion()

    async def _take_events(
        self,
        chunks: AsyncIterator[bytes],
        body: RequestBody,
        answer: Answer,
        emit: Emit,
        limit: int,
    ) -> bool:
        """Take events to the last. Returns: whether that was the one that says so."""
        events, num_bytes = SseReader(), 0
        async for chunk in chunks:
            num_bytes += len(chunk)
            if num_bytes > limit * RAW_PER_LIMIT:
                raise LieError(f"a stream of more than {limit * RAW_PER_LIMIT} bytes")
            is_last = self._take_chunk(events.feed(chunk), body, answer)
            if text := answer.take_text():
                emit(text)
            if is_last:
                return True
        return False

    def _take_chunk(self, events: Any, body: RequestBody, answer: Answer) -> bool:
        add = chat_reply.add_chunk if body.api == "chat" else text_reply.add_chunk
        for event in events:
            if event.strip() == "[DONE]":
                return True
            chunk = read_json(event)
            if chunk.get("error"):
                said = readable(self._key.scrub(_message(chunk)))
                raise broken(self._endpoint, 200, f"an error within the stream: {said}")
            add(answer, chunk)
        return False

    # --- refusals -------------------------------------------------------------------------

    async def _refusal(self, http: HttpAnswer) -> Exception:
        retry_after = http.header("retry-after")
        said = await self._reason(http)
        failure = refused(self._endpoint, http.status, said, retry_after)
        return _KeyRefusedError(failure) if http.status == UNAUTHORIZED else failure

    async def _reason(self, http: HttpAnswer) -> str:
        """Return what a refusal says of itself, fit to be shown."""
        if http.status in (UNAUTHORIZED, 403):
            return "it refuses the key"  # such answers often quote it
        if 300 <= http.status < 400:
            return "it redirects, and a key is not carried elsewhere"
        try:
            async with asyncio.timeout(REASON_S):
                text = (await http.read(MAX_REASON)).decode("utf-8", "replace")
        except (TimeoutError, CallFailure, LieError):
            text = ""
        with suppress(LieError):  # not every proxy says it in JSON
            text = _message(read_json(text)) or text
        return readable(self._key.scrub(text)) or "it gives no reason"


class _KeyRefusedError(Exception):
    """401: the key that went with the call is not, or no longer, good."""

    def __init__(self, failure: CallFailure) -> None:
        super().__init__(str(failure))
        self.failure = failure


def _message(fields: dict[str, Any]) -> str:
    """Return the text of an error object, in any of the forms in use."""
    error = fields.get("error")
    if isinstance(error, dict):
        error = error.get("message")
    return error if isinstance(error, str) else str(fields.get("message") or "")
