"""A conversation whose tokens the kernel keeps, so that a model reads them once.

    async with self.llm.session() as session:
        await session.append(long_document)
        drafts = await session.fork(3)                 # share what has been read
        texts = await asyncio.gather(*(draft.generate(style) for draft, style in ...))

A session is raw (``append`` a text, ``generate``: tokens follow tokens) or a chat (``chat``,
``append`` messages): then the kernel keeps the messages too, each call sends only what is new,
and the whole conversation goes through the model's template.

The handle is Python's and lives with the process; the session lives until it is closed or its
owner is terminated. Keep ``session.id`` in ``self.state`` and take it up again with
``self.llm.attach(id)``. A session whose turn never commits is closed by the kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Any

from typing_extensions import TypeVar, Unpack

from actors.llm.call import LlmCall, LlmPort, Request, call_site
from actors.llm.completion import Completion, read_completion
from actors.llm.inputs import (
    Message,
    Messages,
    Prompt,
    Tools,
    chat_input,
    read_input,
    read_messages,
    read_prompt,
)
from actors.llm.options import SessionOptions, prepare
from actors.llm.stream import CompletionStream
from actors.llm.structure import read_structure
from actors.reference import PLAIN
from ipc.errors import LLMOSError, SamplingError, UsageError
from ipc.llm import LlmInput, SessionInfo

P = TypeVar("P", default=Any)

Finish = Callable[[Any], Completion[Any]]


class LlmSession:
    """See the module head."""

    def __init__(self, port: LlmPort, identifier: int) -> None:
        self.id = identifier
        self.model: str | None = None  # None: taken up by its id, nothing was told yet
        self.version: int | None = None
        self.tokens: int | None = None  # as the kernel last told
        self._port = port

    def append(
        self, given: Prompt | Sequence[Message], *, tools: Tools | None = None
    ) -> LlmCall[None]:
        """Add to the session without an answer: raw text, ids, or messages of a chat."""
        arguments = {"input": read_input(given, tools)}
        return LlmCall(self._request("llm_append", arguments), self._note)

    def generate(
        self,
        prompt: Prompt | None = None,
        *,
        schema: type[P] | dict[str, Any] | None = None,
        **options: Unpack[SessionOptions],
    ) -> LlmCall[Completion[P]]:
        """Go on from what the session holds, and from ``prompt`` if one is given.

        Raises:
            SamplingError, BadPromptError: nothing was sent.
        """
        given = None if prompt is None else read_prompt(prompt)
        return LlmCall(*self._generation(given, schema, options))

    def chat(
        self,
        messages: Messages,
        *,
        tools: Tools | None = None,
        schema: type[P] | dict[str, Any] | None = None,
        **options: Unpack[SessionOptions],
    ) -> LlmCall[Completion[P]]:
        """Say something and get the model's answer; the session holds both afterwards."""
        given = chat_input(read_messages(messages), tools)
        return LlmCall(*self._generation(given, schema, options))

    def stream(
        self,
        given: Prompt | Sequence[Message] | None = None,
        *,
        tools: Tools | None = None,
        schema: type[P] | dict[str, Any] | None = None,
        **options: Unpack[SessionOptions],
    ) -> CompletionStream[P]:
        """Do as ``generate`` (for a text or ids) or ``chat`` (for messages), piece by piece."""
        said = None if given is None else read_input(given, tools)
        return CompletionStream(*self._generation(said, schema, options))

    def fork(self, count: int = 1) -> LlmCall[list[LlmSession]]:
        """Return so many sessions that go on from here, each its own way."""
        if type(count) is not int or count < 1:
            raise UsageError(reason=f"a session is forked at least once, not {count!r} times")

        def finish(infos: list[SessionInfo]) -> list[LlmSession]:
            return [open_session(self._port, info) for info in infos]

        return LlmCall(self._request("llm_fork", {"count": count}), finish)

    def pin(self, ttl: float) -> LlmCall[None]:
        """Keep what has been read in the cache for ``ttl`` seconds; 0 lets it go."""
        if type(ttl) not in (int, float) or not ttl >= 0:
            raise UsageError(reason=f"a pin lasts a number of seconds, at least 0, not {ttl!r}")
        return LlmCall(self._request("llm_pin", {"ttl_s": float(ttl)}), _nothing)

    def close(self) -> LlmCall[None]:
        """End the session."""
        return LlmCall(self._request("llm_close", {}), _nothing)

    async def __aenter__(self) -> LlmSession:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await _leave(self, error)

    def __repr__(self) -> str:
        return f"<LLM session {self.id}{f' of {self.model}' if self.model else ''}>"

    # --- parts ----------------------------------------------------------------------------

    def _request(self, name: str, arguments: dict[str, Any]) -> Request:
        return Request(self._port, name, {"session": self.id, **arguments}, PLAIN)

    def _generation(
        self, given: LlmInput | None, schema: Any, options: SessionOptions
    ) -> tuple[Request, Finish]:
        """Return the request of a completion and what makes its result."""
        structure = read_structure(schema)
        if options.get("model") is not None:
            raise SamplingError(option="model", problem="a session stays with its model")
        prepared = prepare(options, structure)
        arguments: dict[str, Any] = {"session": self.id, **prepared.request}
        if given is not None:
            arguments["input"] = given
        aside = {"call_site": call_site()}
        request = Request(self._port, "llm_generate", arguments, prepared.message, aside)
        return request, partial(read_completion, structure=structure)

    def _note(self, info: SessionInfo) -> None:
        self.model, self.version = info["model"], info["version"]
        self.tokens = info["tokens"]


class SessionCall(LlmCall[LlmSession]):
    """A session that is being opened: await it, or use it in ``async with``."""

    __slots__ = ("_session",)

    def __init__(self, request: Request) -> None:
        super().__init__(request, partial(open_session, request.port))
        self._session: LlmSession | None = None

    async def __aenter__(self) -> LlmSession:
        self._session = await self
        return self._session

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await _leave(self._session, error)


async def _leave(session: LlmSession, error: BaseException | None) -> None:
    """Close at the end of a ``with``; an error that is on its way there is not hidden."""
    try:
        await session.close()
    except LLMOSError:
        if error is None:
            raise


def open_session(port: LlmPort, info: SessionInfo) -> LlmSession:
    """Return the handle of a session that the kernel has opened."""
    session = LlmSession(port, info["session"])
    session._note(info)
    return session


def _nothing(_: Any) -> None:
    return None
