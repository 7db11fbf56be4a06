"""HTTP to one endpoint: posts a body, hands out the answer in chunks, names what went wrong.

What it is not: what the bytes mean (actors/remote_engine/api.py), when to try again (the kernel).
Nothing is repeated, redirected, decompressed or kept in a cookie. The kernel limits how many
posts are open, so the pool does not.

A connection that was idle for KEEP_ALIVE_S is not used again: servers drop idle ones (often after
5 s), and a request that meets the drop is in doubt although nobody read it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any

from actors.remote_engine.call_task import CallTask, Why
from actors.remote_engine.endpoint import Endpoint
from actors.remote_engine.failure import (
    CallFailure,
    LieError,
    broken,
    readable,
    unreachable,
)
from actors.remote_engine.key import Key
from actors.remote_engine.request_body import RequestBody

if TYPE_CHECKING:
    import httpx

KEEP_ALIVE_S = 2.0
DRAIN_S = 0.1  # for the end of an answer of which nothing more is wanted


class HttpClient:
    """See the module head."""

    def __init__(self, endpoint: Endpoint, key: Key) -> None:
        """Make a client; takes some 100 ms, mostly for httpx and for certificates.

        Raises:
            BadModelError: httpx is not installed.
        """
        self._endpoint = endpoint
        self._key = key
        self._httpx = _load_httpx(endpoint)
        self._client = self._open()

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    @asynccontextmanager
    async def post(
        self, body: RequestBody, *, accept: str, me: CallTask
    ) -> AsyncIterator[HttpAnswer]:
        """Post a body with the key; yield the answer, whatever its status.

        me: the task that this runs in.
        Raises:
            CallFailure: no connection, or it broke or fell silent; also while the answer is read.
        """
        url = self._endpoint.base_url + body.path
        headers = {"Content-Type": "application/json", "Accept": accept, **self._key.headers()}
        request = self._client.build_request("POST", url, content=body.content, headers=headers)
        try:
            response = await self._client.send(request, stream=True)
        except Exception as problem:
            raise self.explain(problem, 0) from None
        try:
            yield HttpAnswer(self, response, me)
        finally:
            # In a task of its own, since a cancelled close leaves the connection open.
            await asyncio.shield(asyncio.get_running_loop().create_task(response.aclose()))

    def explain(self, problem: Exception, status: int) -> CallFailure:
        """Return the failure that an error of httpx is; other errors are raised again."""
        httpx = self._httpx
        if isinstance(problem, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)):
            return unreachable(self._endpoint, self._say(problem))
        if isinstance(problem, httpx.TimeoutException):
            silence = f"it was silent for {self._endpoint.timeout_s:g} s"
            return broken(self._endpoint, status, silence)
        if isinstance(problem, (httpx.TransportError, httpx.StreamError)):
            return broken(self._endpoint, status, self._say(problem))
        raise problem

    def _say(self, problem: Exception) -> str:
        name = type(problem).__name__
        return f"{name}: {readable(self._key.scrub(str(problem)))}".rstrip(": ")

    def _open(self) -> httpx.AsyncClient:
        endpoint = self._endpoint
        for name in ("httpx", "httpcore"):  # they log URLs, and headers at DEBUG
            logging.getLogger(name).setLevel(logging.WARNING)
        client: httpx.AsyncClient = self._httpx.AsyncClient(
            timeout=self._httpx.Timeout(endpoint.timeout_s, connect=endpoint.connect_s, pool=None),
            limits=self._httpx.Limits(
                max_connections=None,
                max_keepalive_connections=endpoint.concurrency,
                keepalive_expiry=KEEP_ALIVE_S,
            ),
            headers={"User-Agent": "llmos", "Accept-Encoding": "identity"},
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            follow_redirects=False,
        )
        return client


class HttpAnswer:
    """What came back: status and headers now, the bytes as they come."""

    def __init__(self, client: HttpClient, response: httpx.Response, me: CallTask) -> None:
        self._me = me
        self._client = client
        self._response = response
        self.status: int = response.status_code

    def header(self, name: str) -> str | None:
        """Return a header."""
        value: str | None = self._response.headers.get(name)
        return value

    def expect(self, media_type: str) -> None:
        """Check what kind of body comes.

        Raises:
            LieError: another than was asked for.
        """
        kind = (self.header("content-type") or "").split(";", 1)[0].strip().lower()
        if kind != media_type:
            raise LieError(f"it sent {readable(kind)[:64] or 'nothing'!r}, not {media_type}")
        if (self.header("content-encoding") or "identity").lower() != "identity":
            raise LieError("it sent compressed bytes, which nobody asked for")

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body's bytes as they come, as they were sent.

        Raises:
            CallFailure: it broke or fell silent.
        """
        try:
            async for chunk in self._response.aiter_raw():
                yield chunk
        except Exception as problem:
            raise self._client.explain(problem, self.status) from None

    async def read(self, limit: int) -> bytes:
        """Return the whole body.

        Raises:
            LieError: it has more than ``limit`` bytes. CallFailure: as ``chunks``.
        """
        held = bytearray()
        async for chunk in self.chunks():
            held += chunk
            if len(held) > limit:
                raise LieError(f"an answer of more than {limit} bytes")
        return bytes(held)

    async def let_end(self, chunks: AsyncIterator[bytes]) -> None:
        """Nothing more is wanted: wait a moment for the end, so that the connection can stay."""
        with suppress(TimeoutError, CallFailure):
            async with self.for_at_most(DRAIN_S):
                async for _ in chunks:
                    return  # more came: the connection is closed with the answer

    @asynccontextmanager
    async def for_at_most(self, limit_s: float) -> AsyncIterator[None]:
        """Raise TimeoutError if what is within takes longer; what it read is then closed."""
        timer = self._me.stop_in(limit_s, Why.ENOUGH)
        try:
            yield
        except asyncio.CancelledError:
            if not self._me.goes_on(Why.ENOUGH):
                raise
            raise TimeoutError from None
        finally:
            timer.cancel()


def _load_httpx(endpoint: Endpoint) -> Any:
    try:
        # An optional dependency: agents that use no remote model need not have it.
        import httpx
    except ImportError:
        raise endpoint.wrong("httpx is missing: pip install 'llmos[remote]'") from None
    return httpx
