"""One call of an endpoint's API, from its request to its completion.

Nothing is tried again, with one exception: if the key was refused (401) and what it is read from
holds another now, the call goes out once more with that.
"""

from __future__ import annotations

import asyncio
from typing import Any

from actors.remote_engine.answer import Answer, answer_limit
from actors.remote_engine.call_task import CallTask, Why
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
from actors.remote_engine.http_client import HttpAnswer, HttpClient
from actors.remote_engine.key import Key
from actors.remote_engine.refusal import UNAUTHORIZED, read_reason
from actors.remote_engine.reply import (
    EVENTS,
    JSON,
    BrokenReplyError,
    Emit,
    read_stream,
    read_whole,
)
from actors.remote_engine.request_body import RequestBody, build_body
from ipc.engine import RemoteCall
from ipc.errors import BadModelError, UsageError
from ipc.llm import Sampling


class RemoteApi:
    """See the module head."""

    def __init__(self, endpoint: Endpoint, key: Key, client: HttpClient) -> None:
        self._endpoint = endpoint
        self._key = key
        self._client = client

    async def complete(self, call: RemoteCall, emit: Emit, me: CallTask) -> dict[str, Any]:
        """Return the body of DONE. emit: is given new text as it comes, if the call streams.

        me: the task that this runs in.

        Raises:
            CallFailure: it came to nothing.
        """
        body = self._body(call)
        answer = Answer(answer_limit(call.get("sampling", Sampling())))
        deadline = None
        if "remaining_ns" in call:
            deadline = me.stop_in(call["remaining_ns"] / 1e9, Why.LATE)
        try:
            return await self._with_good_key(body, answer, emit, me)
        except asyncio.CancelledError:
            if not me.goes_on(Why.LATE):
                raise
            raise too_late(self._endpoint) from None
        finally:
            if deadline is not None:
                deadline.cancel()

    def _body(self, call: RemoteCall) -> RequestBody:
        sampling, stream = call.get("sampling", Sampling()), call.get("stream", False)
        try:
            return build_body(self._endpoint.model, call["input"], sampling, stream=stream)
        except UsageError as problem:
            raise CallFailure(Proof.FINAL, problem) from None

    async def _with_good_key(
        self, body: RequestBody, answer: Answer, emit: Emit, me: CallTask
    ) -> dict[str, Any]:
        used = self._key.headers()
        try:
            return await self._exchange(body, answer, emit, me)
        except CallFailure as failure:
            # Another call may have read the new key already, so what counts is what this one used.
            if failure.status != UNAUTHORIZED or not self._has_other_key(used):
                raise
        return await self._exchange(body, answer, emit, me)

    def _has_other_key(self, used: dict[str, str]) -> bool:
        try:
            self._key.read()
        except BadModelError:
            return False
        return self._key.headers() != used

    async def _exchange(
        self, body: RequestBody, answer: Answer, emit: Emit, me: CallTask
    ) -> dict[str, Any]:
        accept = EVENTS if body.stream else JSON
        async with self._client.post(body, accept=accept, me=me) as http:
            if http.status != 200:
                said = self._show(await read_reason(http))
                raise refused(self._endpoint, http.status, said, http.header("retry-after"))
            try:
                await self._read(http, body, answer, emit)
                return answer.completion()
            except LieError as problem:
                raise lied(self._endpoint, http.status, self._show(str(problem))) from None
            except BrokenReplyError as problem:
                raise broken(self._endpoint, http.status, self._show(str(problem))) from None

    async def _read(self, http: HttpAnswer, body: RequestBody, answer: Answer, emit: Emit) -> None:
        if body.stream:
            await read_stream(http, body.api, answer, emit)
        else:
            await read_whole(http, body.api, answer)

    def _show(self, said: str) -> str:
        """Return a text of the endpoint's as others may see it."""
        return readable(self._key.scrub(said))
