"""An agent's process: loads the class, connects, runs the loop until farewell.

Called in a child forked from the zygote (actors/child.py), once. Exit codes tell the kernel's
log why; a normal exit has said BYE before.

Cost: about 3 ms from the fork to HELLO, plus the import of the user's module.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import structlog

from actors.host import Identity
from actors.link import Link
from actors.loader import load_program
from actors.program import Program
from actors.runtime import AgentRuntime
from actors.selector import LinkSelector
from actors.watchdog import EXIT_ORPHANED, Watchdog
from ext.wire import Envelope
from ipc.clock import Clock, SystemClock
from ipc.errors import BadSpecError, FencedError, LLMOSError
from ipc.proc import start_time
from ipc.protocol import Kind
from ipc.start import StartRequest

EXIT_REFUSED = 76  # the kernel would not have us: fenced, or another generation
EXIT_BUG = 70


def run_agent(request: StartRequest) -> int:
    """Run the agent to its end; return the exit code."""
    configure_logging()
    program: Program | LLMOSError
    try:
        program = load_program(request.spec)
    except BadSpecError as error:
        program = error
    return AgentProcess(request, program).run()


def configure_logging() -> None:
    """Log to standard error: for people on a terminal, else as JSON lines."""
    renderer: Any
    if sys.stderr.isatty():
        renderer = structlog.dev.ConsoleRenderer()
    else:
        renderer = structlog.processors.JSONRenderer(default=repr)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            renderer,
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


class AgentProcess:
    """The Host (actors/host.py) of one agent."""

    def __init__(self, request: StartRequest, program: Program | LLMOSError) -> None:
        selector = LinkSelector()
        self.loop: asyncio.AbstractEventLoop = asyncio.SelectorEventLoop(selector)
        self.clock: Clock = SystemClock()
        self.log = structlog.get_logger().bind(actor=request.name, actor_id=request.actor)
        pid = os.getpid()
        me = Identity(
            request.actor,
            request.incarnation,
            request.token,
            request.name,
            pid,
            start_time(pid) or 0,
        )
        self._identity = me
        self._grace_s = request.grace_s
        self._exit_code = 0
        self._pool: ThreadPoolExecutor | None = None
        self._threads = program.actor_class.concurrency if isinstance(program, Program) else 1
        self._given_up: asyncio.TimerHandle | None = None
        self.runtime = AgentRuntime(me, self, program)
        self.link = Link(
            request.endpoint,
            self.runtime.peer,
            self.loop,
            on_lost=self._count_down,
            on_broken=self._broken,
            selector=selector,
        )
        own_s = program.actor_class.lease_s if isinstance(program, Program) else None
        self.watchdog = Watchdog(
            self.loop,
            self.link.context,
            request.endpoint,
            self._make_tick,
            lease_s=request.lease_s if own_s is None else own_s,
            grace_s=request.grace_s,
        )
        self.turn_begins = self.watchdog.watch

    def run(self) -> int:
        """Run until the farewell has been taken, or there is no kernel to take it."""
        asyncio.set_event_loop(self.loop)
        self._count_down()
        self.link.open()
        try:
            self.loop.run_forever()
        finally:
            self.watchdog.end()
            self.link.close()
            if self._pool is not None:
                self._pool.shutdown(wait=False, cancel_futures=True)
            self.loop.close()
        return self._exit_code

    # --- the Host -------------------------------------------------------------------------

    def run_in_thread(self, function: Callable[[], Any]) -> Awaitable[Any]:
        """Run a blocking function in the agent's pool, in the turn's context."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="handler")
        context = contextvars.copy_context()
        return self.loop.run_in_executor(self._pool, context.run, function)

    def up(self, grace_s: float) -> None:
        """The kernel has welcomed us."""
        self._grace_s = grace_s
        self.link.alive()
        if self._given_up is not None:
            self._given_up.cancel()
            self._given_up = None

    def leave(self, reason: str) -> None:
        """End the process after this turn of the loop."""
        self.log.info("leaving", reason=reason)
        self.loop.stop()

    def refused(self, error: LLMOSError) -> None:
        """End at once: another process may be this actor by now."""
        self.log.warning("refused_by_kernel", error=str(error))
        if isinstance(error, FencedError) or self.runtime.num_running:
            sys.stderr.flush()
            os._exit(EXIT_REFUSED)
        self._exit_code = EXIT_REFUSED
        self.loop.stop()

    # --- losing the kernel ----------------------------------------------------------------

    def _count_down(self) -> None:
        if self._given_up is None:
            self._given_up = self.loop.call_later(self._grace_s, self._give_up)

    def _give_up(self) -> None:
        self.log.warning("no_kernel_came_back", grace_s=self._grace_s)
        sys.stderr.flush()
        os._exit(EXIT_ORPHANED)

    def _broken(self, error: BaseException) -> None:
        self.log.error("runtime_broken", exc_info=error)
        sys.stderr.flush()
        os._exit(EXIT_BUG)

    def _make_tick(self, stuck_ms: int) -> Envelope | None:
        """Called by the watchdog's thread."""
        turn = self.runtime.open_turn_id()
        if not turn:
            return None
        me = self._identity
        return Envelope(
            Kind.TICK,
            me.actor,
            message=me.incarnation,
            turn=turn,
            index=min(stuck_ms, 0xFFFFFFFF),
            payload=me.token.encode(),
        )
