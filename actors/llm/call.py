"""An LLM call that has been written but not sent: awaited, or ``.result()`` from a thread.

Nothing leaves before that; what the SDK can check has been checked by then.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Awaitable, Callable, Generator, Mapping
from types import FrameType
from typing import Any, Generic, Protocol, TypeVar

from actors.calls import Items
from actors.reference import Options

T = TypeVar("T")

_OURS = "actors.llm."


class LlmPort(Protocol):
    """What LLM calls need of the process they are made in: an agent's turn, or a client."""

    def ask_kernel(
        self,
        name: str,
        arguments: Mapping[str, Any],
        options: Options = ...,
        aside: Mapping[str, Any] | None = None,
    ) -> Awaitable[Any]:
        """Make a system call. aside: further arguments, by which a retried turn does not go."""
        ...

    def iterate_kernel(
        self,
        name: str,
        arguments: Mapping[str, Any],
        options: Options = ...,
        aside: Mapping[str, Any] | None = None,
    ) -> Items:
        """Make a system call that answers with items."""
        ...

    def block(self, call: Awaitable[Any]) -> Any:
        """Await from a thread that runs no event loop."""
        ...


class Request:
    """A system call with all that goes with it; sent as often as it is asked for."""

    __slots__ = ("arguments", "aside", "name", "options", "port")

    def __init__(
        self,
        port: LlmPort,
        name: str,
        arguments: Mapping[str, Any],
        options: Options,
        aside: Mapping[str, Any] | None = None,
    ) -> None:
        self.port = port
        self.name = name
        self.arguments = arguments
        self.options = options
        self.aside = aside

    def ask(self) -> Awaitable[Any]:
        """Send; the awaitable gives the answer."""
        return self.port.ask_kernel(self.name, self.arguments, self.options, self.aside)

    def iterate(self) -> Items:
        """Send; the iterator gives the items."""
        return self.port.iterate_kernel(self.name, self.arguments, self.options, self.aside)


class LlmCall(Generic[T]):
    """Await it, or ask for ``.result()`` in a thread; see the module head."""

    __slots__ = ("_finish", "_request", "is_sent")

    def __init__(self, request: Request, finish: Callable[[Any], T]) -> None:
        """Make a call. finish: makes the result of the kernel's answer."""
        self._request = request
        self._finish = finish
        self.is_sent = False

    def __await__(self) -> Generator[Any, None, T]:
        self.is_sent = True
        answer = yield from self._request.ask().__await__()
        return self._finish(answer)

    def result(self) -> T:
        """Send and wait for the answer; for threads (a ``def`` handler) that run no loop."""
        self.is_sent = True
        result: T = self._request.port.block(self)
        return result

    def __repr__(self) -> str:
        return f"<LLM call {self._request.name}>"

    def __del__(self) -> None:
        if not self.is_sent:
            warnings.warn(f"{self!r} was never awaited: not sent", RuntimeWarning, stacklevel=2)


def call_site() -> str:
    """Return the place outside this package that is making the call: module:qualname:line.

    Cost: about 0.5 us.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").startswith(_OURS):
        frame = frame.f_back
    if frame is None:
        return ""
    code = frame.f_code
    return f"{frame.f_globals.get('__name__', '?')}:{code.co_qualname}:{frame.f_lineno}"
