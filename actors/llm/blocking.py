"""Language models for code without an event loop: ``client.llm`` of ``connect()``.

The same as ``Llm`` and ``LlmSession``, but each call returns its result, and a stream is read by
``for piece in client.llm.stream(...)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any

from typing_extensions import TypeVar, Unpack

from actors.llm.completion import Completion
from actors.llm.inputs import Message, Messages, Prompt, Tools
from actors.llm.llm import Llm
from actors.llm.options import LlmOptions, SessionOptions
from actors.llm.session import LlmSession
from actors.llm.stream import CompletionStream
from ipc.errors import LLMOSError
from ipc.llm import ModelInfo

P = TypeVar("P", default=Any)


class BlockingLlm:
    """See the module head."""

    def __init__(self, llm: Llm) -> None:
        self._llm = llm

    def complete(
        self,
        prompt: Prompt,
        *,
        schema: type[P] | dict[str, Any] | None = None,
        **options: Unpack[LlmOptions],
    ) -> Completion[P]:
        """See ``Llm.complete``."""
        return self._llm.complete(prompt, schema=schema, **options).result()

    def chat(
        self,
        messages: Messages,
        *,
        tools: Tools | None = None,
        schema: type[P] | dict[str, Any] | None = None,
        **options: Unpack[LlmOptions],
    ) -> Completion[P]:
        """See ``Llm.chat``."""
        return self._llm.chat(messages, tools=tools, schema=schema, **options).result()

    def stream(
        self,
        given: Prompt | Sequence[Message],
        *,
        tools: Tools | None = None,
        **options: Unpack[LlmOptions],
    ) -> CompletionStream:
        """See ``Llm.stream``; read it with ``for``."""
        return self._llm.stream(given, tools=tools, **options)

    def count_tokens(
        self,
        given: Prompt | Sequence[Message],
        *,
        model: str | None = None,
        tools: Tools | None = None,
    ) -> int:
        """See ``Llm.count_tokens``."""
        return self._llm.count_tokens(given, model=model, tools=tools).result()

    def session(self, *, model: str | None = None) -> BlockingLlmSession:
        """Open a session; it can be used in ``with``."""
        return BlockingLlmSession(self._llm.session(model=model).result())

    def attach(self, session: int) -> BlockingLlmSession:
        """See ``Llm.attach``."""
        return BlockingLlmSession(self._llm.attach(session))

    def models(self) -> list[ModelInfo]:
        """See ``Llm.models``."""
        return self._llm.models().result()


class BlockingLlmSession:
    """See ``LlmSession``; each call returns its result."""

    def __init__(self, session: LlmSession) -> None:
        self._session = session

    @property
    def id(self) -> int:
        """The session's number, for ``attach``."""
        return self._session.id

    @property
    def model(self) -> str | None:
        """The model's name, as far as it is known."""
        return self._session.model

    @property
    def tokens(self) -> int | None:
        """How many tokens it holds, as the kernel last told."""
        return self._session.tokens

    def append(self, given: Prompt | Sequence[Message], *, tools: Tools | None = None) -> None:
        """See ``LlmSession.append``."""
        self._session.append(given, tools=tools).result()

    def generate(
        self,
        prompt: Prompt | None = None,
        *,
        schema: type[P] | dict[str, Any] | None = None,
        **options: Unpack[SessionOptions],
    ) -> Completion[P]:
        """See ``LlmSession.generate``."""
        return self._session.generate(prompt, schema=schema, **options).result()

    def chat(
        self,
        messages: Messages,
        *,
        tools: Tools | None = None,
        schema: type[P] | dict[str, Any] | None = None,
        **options: Unpack[SessionOptions],
    ) -> Completion[P]:
        """See ``LlmSession.chat``."""
        return self._session.chat(messages, tools=tools, schema=schema, **options).result()

    def stream(
        self,
        given: Prompt | Sequence[Message] | None = None,
        *,
        tools: Tools | None = None,
        **options: Unpack[SessionOptions],
    ) -> CompletionStream:
        """See ``LlmSession.stream``; read it with ``for``."""
        return self._session.stream(given, tools=tools, **options)

    def fork(self, count: int = 1) -> list[BlockingLlmSession]:
        """See ``LlmSession.fork``."""
        return [BlockingLlmSession(session) for session in self._session.fork(count).result()]

    def pin(self, ttl: float) -> None:
        """See ``LlmSession.pin``."""
        self._session.pin(ttl).result()

    def close(self) -> None:
        """See ``LlmSession.close``."""
        self._session.close().result()

    def __enter__(self) -> BlockingLlmSession:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.close()
        except LLMOSError:
            if error is None:  # one that is on its way is not hidden
                raise

    def __repr__(self) -> str:
        return repr(self._session)
