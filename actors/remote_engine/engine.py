"""The driver of a remote model: calls from the kernel out, pieces and completions back.

What it is not: a queue. The kernel keeps the limits, waits, and tries again; here every CALL goes
out at once. A failure says what it proves (actors/remote_engine/failure.py).

Invariants:
  I1  each CALL is answered by exactly one DONE, unless it is cancelled or the kernel is new.
  I2  after CANCEL nothing more is said of that request, and its connection is closed.
  I3  no prompt, no answer and no key is logged.

Cost: a task and, unless one is idle, a connection for each call.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, ClassVar, Literal

import structlog

from actors.driver import Driver
from actors.remote_engine.api import RemoteApi
from actors.remote_engine.call_task import CallTask, Why
from actors.remote_engine.endpoint import Endpoint, read_endpoint
from actors.remote_engine.failure import CallFailure
from actors.remote_engine.http_client import HttpClient
from actors.remote_engine.key import Key
from actors.remote_engine.request_body import build_body
from ext.wire import Envelope
from ipc.engine import EngineFacts, EngineNews, Preparation, Prepared, RemoteCall, RemoteFailure
from ipc.errors import BadPromptError, KernelBugError, LLMOSError, UsageError, to_wire
from ipc.llm import Piece, Sampling
from ipc.plain import decode_plain
from ipc.protocol import Flag, Kind

log = structlog.get_logger()


class RemoteEngine(Driver):
    """See the module head."""

    driver: ClassVar[Literal["engine"]] = "engine"

    def __init__(self, spec: dict[str, Any]) -> None:
        """Make the engine of one model. spec: an ipc.llm.ModelSpec with an endpoint."""
        self._spec = spec
        self._endpoint: Endpoint | None = None
        self._client: HttpClient | None = None
        self._api: RemoteApi | None = None
        self._start: asyncio.Task[None] | None = None
        self._calls: dict[int, CallTask] = {}
        self._ending: set[asyncio.Task[None]] = set()  # cancelled ones that close connections
        self._facts = EngineFacts()

    # --- the driver's conversation --------------------------------------------------------

    def linked(self) -> None:
        """See actors.driver.Driver. What an earlier kernel wanted is of no interest now."""
        for request in list(self._calls):
            self._cancel(request)
        if self._api is not None:
            self._say(EngineNews(state="ready", facts=self._facts))
        elif self._start is None or self._start.done():
            self._start = asyncio.get_running_loop().create_task(self._begin())

    def take(self, envelope: Envelope) -> None:
        """See actors.driver.Driver."""
        match envelope.kind:
            case Kind.PREPARE:
                self._prepare(envelope.correlation, decode_plain(envelope.payload))
            case Kind.CALL:
                self._call(envelope.correlation, decode_plain(envelope.payload))
            case Kind.CANCEL:
                self._cancel(envelope.correlation)
            case kind:
                log.warning("engine_was_sent_what_it_does_not_know", kind=kind)

    async def on_stop(self) -> None:
        """See actors.actor.Actor."""
        for request in list(self._calls):
            self._cancel(request)
        starting = [self._start] if self._start else []
        await asyncio.gather(*self._ending, *starting, return_exceptions=True)
        if self._client is not None:
            await self._client.close()

    # --- start ----------------------------------------------------------------------------

    async def _begin(self) -> None:
        self._say(EngineNews(state="loading", progress=0.0))
        started = time.monotonic()
        try:
            await asyncio.to_thread(self._open)
        except LLMOSError as error:
            self._say(EngineNews(state="failed", error=to_wire(error)))
            return
        assert self._endpoint is not None
        self._facts = EngineFacts(
            device="remote",
            block_size=0,
            max_running=self._endpoint.concurrency,
            load_s=time.monotonic() - started,
        )
        if self._endpoint.max_context is not None:
            self._facts["max_context"] = self._endpoint.max_context
        self._say(EngineNews(state="ready", facts=self._facts))

    def _open(self) -> None:
        """Make all parts; in a thread, since reading certificates takes its time."""
        endpoint = read_endpoint(self._spec)
        key = Key(endpoint, self._spec)
        key.read()
        self._client = HttpClient(endpoint, key)
        self._endpoint = endpoint
        self._api = RemoteApi(endpoint, key, self._client)

    def _say(self, news: EngineNews) -> None:
        self.post(Kind.ENGINE, news)

    # --- requests -------------------------------------------------------------------------

    def _prepare(self, request: int, preparation: Preparation) -> None:
        try:
            self._check(preparation)
        except LLMOSError as error:
            self.post(Kind.PREPARED, to_wire(error), correlation=request, flags=Flag.FAILED)
        else:
            self.post(Kind.PREPARED, Prepared(ids=b""), correlation=request)

    def _check(self, preparation: Preparation) -> None:
        name = self._spec.get("name")
        if preparation.get("previous"):
            raise BadPromptError(problem=f"model {name!r} is remote: it has no sessions")
        if "sampling" not in preparation and "messages" not in preparation["input"]:
            # Messages may be appended to a session, whose tokens nobody knows; text cannot.
            reason = f"only the endpoint of model {name!r} can count its tokens, and only by use"
            raise UsageError(reason=reason)
        sampling = preparation.get("sampling", Sampling())
        build_body("", preparation["input"], sampling, stream=False)

    def _call(self, request: int, call: RemoteCall) -> None:
        self._calls[request] = CallTask(lambda me: self._answer(request, call, me))

    def _cancel(self, request: int) -> None:
        running = self._calls.pop(request, None)
        if running is not None:
            running.stop(Why.GONE)
            self._ending.add(running.task)
            running.task.add_done_callback(self._ending.discard)

    async def _answer(self, request: int, call: RemoteCall, me: CallTask) -> None:
        """Carry a call out and say how it ended."""
        done, flags = await self._outcome(request, call, me)
        if self._calls.get(request) is me:
            del self._calls[request]
            self.post(Kind.DONE, done, correlation=request, flags=flags)

    async def _outcome(
        self, request: int, call: RemoteCall, me: CallTask
    ) -> tuple[dict[str, Any] | RemoteFailure, int]:
        """Return the body and the flags of DONE. The boundary for what may go wrong."""

        def emit(text: str) -> None:
            if self._calls.get(request) is me:
                self.post(Kind.PIECE, Piece(text=text, tokens=0), correlation=request)

        try:
            if self._api is None:
                raise KernelBugError(reason="a call to an engine that is not ready")
            return await self._api.complete(call, emit, me), 0
        except CallFailure as failure:
            return failure.wire(), Flag.FAILED
        except Exception as problem:
            # A bug of ours, of which no more than its kind is known to hold no secret.
            log.error("remote_call_crashed", request=request, problem=type(problem).__name__)
            error = KernelBugError(reason=f"the remote engine: {type(problem).__name__}")
            return RemoteFailure(
                error=to_wire(error), is_unstarted=False, is_in_doubt=True
            ), Flag.FAILED
