"""A completion that is read while it is made.

``async for piece in stream`` (or ``for``, in a thread) gives pieces of text; afterwards
``stream.completion`` is the whole. The call is made when the first piece is asked for. Leaving
the loop early cancels it.
"""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator, Callable, Generator
from types import TracebackType
from typing import Any, Generic

from actors.calls import Items
from actors.llm.call import Later, Request
from actors.llm.completion import Completion, P_co
from ipc.errors import UsageError


class CompletionStream(AsyncIterator[str], Generic[P_co]):
    """See the module head."""

    def __init__(self, request: Request, finish: Callable[[Any], Completion[P_co]]) -> None:
        """Make a stream. finish: makes the completion of the kernel's answer."""
        self._request = request
        self._finish = finish
        self._items: Items | None = None
        self._was_asked = False  # for its first piece, however that went
        self._pieces: list[str] = []
        self._completion: Completion[P_co] | None = None

    @property
    def text(self) -> str:
        """What has been read so far."""
        return "".join(self._pieces)

    @property
    def completion(self) -> Completion[P_co]:
        """The whole completion. Raises UsageError before the stream has been read to its end."""
        if self._completion is None:
            raise UsageError(reason="the completion is known when its stream has been read")
        return self._completion

    def __aiter__(self) -> CompletionStream[P_co]:
        return self

    async def __anext__(self) -> str:
        self._was_asked = True
        if self._items is None:
            self._items = self._request.iterate()
        while True:
            try:
                text: str = (await anext(self._items))["text"]
            except StopAsyncIteration:
                answer = self._items.result()  # None: it was left, or has failed
                if self._completion is None and answer is not None:
                    self._completion = self._finish(answer)
                raise
            if text:  # a token may end in the middle of a character
                self._pieces.append(text)
                return text

    async def aclose(self) -> None:
        """Leave early: the completion is cancelled."""
        if self._items is not None:
            await self._items.aclose()

    async def __aenter__(self) -> CompletionStream[P_co]:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __iter__(self) -> Generator[str, None, None]:
        block = self._request.port.block
        try:
            while (piece := block(Later(self._next_or_none))) is not None:
                yield piece
        finally:
            if self._items is not None and self._completion is None:
                block(Later(self.aclose))

    async def _next_or_none(self) -> str | None:
        try:
            return await anext(self)
        except StopAsyncIteration:
            return None

    def __repr__(self) -> str:
        return f"<LLM stream {self._request.name}>"

    def __del__(self) -> None:
        if not self._was_asked:
            warnings.warn(f"{self!r} was never read: not sent", RuntimeWarning, stacklevel=2)
