"""References from outside, for code without an event loop: scripts, notebooks, the command line.

``connect()`` runs a session (actors/session.py) in a thread of its own. Its references block:
``ref.method(...)`` returns the answer, ``ref.tell.method(...)`` returns when the message is
accepted, ``ref.stream.method(...)`` gives the items to a ``for`` loop. Ctrl-C cancels the ask.

Cost: two thread wake-ups a call more than the asynchronous session.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Coroutine, Iterator, Mapping
from concurrent.futures import Future
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, overload

from actors.async_client import AsyncClient
from actors.calls import Items
from actors.reference import PLAIN, ActorRef, Call, Options
from actors.whereabouts import Whereabouts
from ipc.errors import ClosedError, UsageError

if TYPE_CHECKING:
    from actors.llm.blocking import BlockingLlm

A = TypeVar("A")
T = TypeVar("T")


class Client:
    """A session with a kernel, for blocking code; also the Port of its references."""

    def __init__(self, where: Whereabouts, timeout: float | None = None) -> None:
        """Connect.

        Raises:
            KernelUnavailableError: nobody listens there.
        """
        self._loop = asyncio.new_event_loop()
        self._session: AsyncClient | None = None
        self._thread = threading.Thread(target=self._serve, name="llmos-client", daemon=True)
        self._thread.start()
        try:
            self._run(self._open(where, timeout))
        except BaseException:
            self._stop()
            raise

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the session: unanswered asks are cancelled, accepted tells stay."""
        session, self._session = self._session, None
        if session is not None:
            self._run(session.close())
            self._stop()

    @property
    def is_closed(self) -> bool:
        """Say whether ``close`` has been called."""
        return self._session is None

    # --- what users call ------------------------------------------------------------------

    @overload
    def lookup(self, name: str | int) -> ActorRef[Any]: ...
    @overload
    def lookup(self, name: str | int, actor_class: type[A]) -> ActorRef[A]: ...
    def lookup(self, name: str | int, actor_class: type[Any] | None = None) -> ActorRef[Any]:
        """Return a reference by name or id. Raises UnknownActorError."""
        if actor_class is None:
            return self._run(self._open_session().lookup(name))
        return self._run(self._open_session().lookup(name, actor_class))

    @overload
    def spawn(self, target: type[A], *args: Any, **rest: Any) -> ActorRef[A]: ...
    @overload
    def spawn(self, target: str, *args: Any, **rest: Any) -> ActorRef[Any]: ...
    def spawn(self, target: type[Any] | str, *args: Any, **rest: Any) -> ActorRef[Any]:
        """Start an actor and return when it is up; see ``AsyncClient.spawn``."""
        return self._run(self._open_session().spawn(target, *args, **rest))

    @overload
    def spawn_pool(self, target: type[A], *args: Any, **rest: Any) -> ActorRef[A]: ...
    @overload
    def spawn_pool(self, target: str, *args: Any, **rest: Any) -> ActorRef[Any]: ...
    def spawn_pool(self, target: type[Any] | str, *args: Any, **rest: Any) -> ActorRef[Any]:
        """Start a pool of actors and return when its minimum is up; see ``Actor.spawn_pool``."""
        return self._run(self._open_session().spawn_pool(target, *args, **rest))

    def system(self, call: str, /, **arguments: Any) -> Any:
        """Make a system call (ipc/syscalls.py) and return its answer."""
        return self._run(self._open_session().system(call, **arguments))

    @cached_property
    def llm(self) -> BlockingLlm:
        """Language models; see ``BlockingLlm``."""
        # Imported here: it costs a tenth of a short command's time.
        from actors.llm.blocking import BlockingLlm
        from actors.llm.llm import Llm

        return BlockingLlm(Llm(self))

    # --- the Port of references -----------------------------------------------------------

    def invoke(self, call: Call) -> Any:
        """Send, and return the outcome."""
        call.is_sent = True
        return iter(self._items(call)) if call.verb == "stream" else self._run(_outcome(call))

    def ask(self, call: Call) -> Awaitable[Any]:
        """Send an ask; for the session's thread."""
        return self._open_session().ask(call)

    def tell(self, call: Call) -> Awaitable[None]:
        """Send a tell; for the session's thread."""
        return self._open_session().tell(call)

    def iterate(self, call: Call) -> AsyncIterator[Any]:
        """Open a stream; for the session's thread."""
        return self._open_session().iterate(call)

    def block(self, call: Awaitable[T]) -> T:
        """Send, and return the outcome."""
        return self._run(_outcome(call))

    def ask_kernel(
        self,
        name: str,
        arguments: Mapping[str, Any],
        options: Options = PLAIN,
        aside: Mapping[str, Any] | None = None,
    ) -> Awaitable[Any]:
        """Make a system call; for the session's thread."""
        return self._open_session().ask_kernel(name, arguments, options, aside)

    def iterate_kernel(
        self,
        name: str,
        arguments: Mapping[str, Any],
        options: Options = PLAIN,
        aside: Mapping[str, Any] | None = None,
    ) -> Items:
        """Make a system call that answers with items; for the session's thread."""
        return self._open_session().iterate_kernel(name, arguments, options, aside)

    # --- parts ----------------------------------------------------------------------------

    def _items(self, call: Call) -> Iterator[Any]:
        call.is_sent = True
        items = self._run(_open_stream(call, self))
        try:
            while True:
                try:
                    yield self._run(_next(items))
                except StopAsyncIteration:
                    return
        finally:
            if not self.is_closed:
                self._run(items.aclose())

    def _open_session(self) -> AsyncClient:
        if self._session is None:
            raise ClosedError(what="the connection to the kernel")
        return self._session

    async def _open(self, where: Whereabouts, patience_s: float | None) -> None:
        session = AsyncClient(where, ref_port=self)
        await session.open(patience_s)
        self._session = session

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        if threading.current_thread() is self._thread:
            coroutine.close()
            raise UsageError(reason="this thread runs the connection: use aconnect() here")
        if self._loop.is_closed():
            coroutine.close()
            raise ClosedError(what="the connection to the kernel")
        future: Future[T] = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.close()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()


async def _outcome(call: Awaitable[T]) -> T:
    return await call


async def _open_stream(call: Call, client: Client) -> Any:
    return client.iterate(call)


async def _next(items: AsyncIterator[T]) -> T:
    return await anext(items)


def connect(
    home: str | os.PathLike[str] | None = None,
    name: str | None = None,
    *,
    endpoint: str | None = None,
    token: str | None = None,
    timeout: float | None = None,
) -> Client:
    """Connect to a kernel: ``with connect() as client``. In async code use ``aconnect``.

    home: the kernel's directory; name: of a kernel in the user's own directories; endpoint and
        token: where neither tells. timeout: how long to look for it; None: it must be there.
    Raises:
        KernelUnavailableError: nobody listens there.
    """
    return Client(Whereabouts.find(home, name, endpoint, token), timeout)
