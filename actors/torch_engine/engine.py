"""The torch engine's driver: the kernel's envelopes in and out; see ipc/engine.py.

The event loop only hands on: plans to the step thread (worker.py), preparations to a thread of
their own. Answers come back through ``call_soon_threadsafe``. A new kernel epoch voids all that
was given in the one before: ``linked`` counts epochs, and what is of another is dropped.

Importing this module loads no torch.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from actors.driver import Driver
from actors.torch_engine.settings import settings_of
from actors.torch_engine.worker import Worker
from ext.wire import Envelope
from ipc.engine import EngineNews, Report
from ipc.errors import BadFrameError, LLMOSError, PeerError, to_wire
from ipc.plain import decode_plain
from ipc.protocol import Flag, Kind

if TYPE_CHECKING:
    from actors.torch_engine.assembly import Assembled

EXIT_BROKEN = 77  # a step failed as a whole
LAST_WORD_S = 1.0  # to say so before the process ends


class TorchEngine(Driver):
    """Computes completions with a model of ``transformers``.

    spec: an ipc.llm.ModelSpec.
    """

    driver: ClassVar[Literal["engine"]] = "engine"

    def __init__(self, spec: dict[str, Any]) -> None:
        self._spec = spec
        self._worker: Worker | None = None
        self._news = EngineNews(state="loading", progress=0.0)
        self._assembled: Assembled | None = None
        self._waiting: list[Envelope] = []  # preparations that came before the model
        self._preparing = ThreadPoolExecutor(1, thread_name_prefix="prepare")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._epoch = 0

    # --- the kernel's side ----------------------------------------------------------------

    def linked(self) -> None:
        """See Driver."""
        self._epoch += 1
        self._waiting.clear()
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._begin()
        if self._worker is not None:
            self._worker.epoch = self._epoch
        self.post(Kind.ENGINE, self._news)

    def take(self, envelope: Envelope) -> None:
        """See Driver."""
        if envelope.kind == Kind.PLAN and self._worker is not None:
            self._worker.put(decode_plain(envelope.payload))
        elif envelope.kind == Kind.PREPARE:
            self._prepare(envelope)

    async def on_stop(self) -> None:
        """End the threads; what they are at is of no more use."""
        if self._worker is not None:
            self._worker.end()
        self._preparing.shutdown(wait=False, cancel_futures=True)

    def _begin(self) -> None:
        try:
            self._worker = Worker(settings_of(self._spec), self)  # type: ignore[arg-type]
        except LLMOSError as error:
            self._news = EngineNews(state="failed", error=to_wire(error))
            return
        self._worker.epoch = self._epoch
        self._worker.start()

    # --- preparations ---------------------------------------------------------------------

    def _prepare(self, envelope: Envelope) -> None:
        if self._news["state"] == "loading":
            self._waiting.append(envelope)
            return
        self._preparing.submit(self._prepared, envelope, self._epoch)

    def _prepared(self, envelope: Envelope, epoch: int) -> None:
        """In the preparing thread."""
        flags = 0
        body: Any = None
        try:
            if self._assembled is None:
                raise PeerError(reason="the engine has no model")
            body = self._assembled.preparer.prepare(decode_plain(envelope.payload))
        except LLMOSError as error:
            flags, body = Flag.FAILED, to_wire(error)
        except Exception as error:  # one bad input must not end the engine
            wrong = BadFrameError(reason=f"the input cannot be prepared: {error!r}")
            flags, body = Flag.FAILED, to_wire(wrong)
        self._soon(epoch, self._answer, envelope.correlation, body, flags)

    def _answer(self, correlation: int, body: Any, flags: int) -> None:
        self.post(Kind.PREPARED, body, correlation=correlation, flags=flags)

    # --- worker.Listener, in the worker's threads -------------------------------------------

    def loading(self, progress: float) -> None:
        """See worker.Listener."""
        self._soon(None, self._tell, EngineNews(state="loading", progress=progress))

    def ready(self, assembled: Assembled) -> None:
        """See worker.Listener."""
        self._assembled = assembled
        self._soon(None, self._tell, EngineNews(state="ready", facts=assembled.facts))

    def failed(self, error: LLMOSError) -> None:
        """See worker.Listener."""
        self._soon(None, self._tell, EngineNews(state="failed", error=to_wire(error)))

    def broken(self, error: LLMOSError) -> None:
        """See worker.Listener."""
        self._soon(None, self._leave, EngineNews(state="failed", error=to_wire(error)))

    def reported(self, epoch: int, report: Report) -> None:
        """See worker.Listener."""
        self._soon(epoch, self.post, Kind.REPORT, report)

    # --- on the loop ------------------------------------------------------------------------

    def _soon(self, epoch: int | None, call: Callable[..., None], *args: Any) -> None:
        """Call this on the loop, unless the epoch is another by then."""

        def run() -> None:
            if epoch is None or epoch == self._epoch:
                call(*args)

        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # the loop is closed: the process is leaving
            self._loop.call_soon_threadsafe(run)

    def _tell(self, news: EngineNews) -> None:
        self._news = news
        self.post(Kind.ENGINE, news)
        if news["state"] != "loading":
            waiting, self._waiting = self._waiting, []
            for envelope in waiting:
                self._prepare(envelope)

    def _leave(self, news: EngineNews) -> None:
        self._tell(news)
        assert self._loop is not None
        self._loop.call_later(LAST_WORD_S, _exit)


def _exit() -> None:
    sys.stderr.flush()
    os._exit(EXIT_BROKEN)
