"""Whom `chat` talks with: a language model in a session, or a handler of an agent.

A partner answers in pieces of text; leaving an answer early (Ctrl-C) cancels it. What a model
had not finished saying is not part of the conversation.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from typing import TYPE_CHECKING, Any, Protocol

from actors.cli.render import to_text
from actors.cli.values import agent_key
from ipc.errors import NoHandlerError, SchemaError

if TYPE_CHECKING:
    from actors.client import Client
    from actors.llm.blocking import BlockingLlmSession

USUAL_HANDLERS = ("chat", "ask", "message")
_STREAMS = ("AsyncIterator", "AsyncGenerator", "AsyncIterable")


class Partner(Protocol):
    """Who answers."""

    @property
    def title(self) -> str:
        """What the prompt calls it."""
        ...

    def say(self, text: str) -> Generator[str, None, None]:
        """Say something; the answer comes in pieces."""
        ...

    def reset(self) -> None:
        """Begin the conversation anew."""
        ...

    def close(self) -> None:
        """End the conversation."""
        ...


class ModelPartner:
    """A model, in a session that the kernel keeps."""

    def __init__(
        self, client: Client, model: str | None, system: str | None, options: dict[str, Any]
    ) -> None:
        self._client = client
        self._model = model
        self._system = system
        self._options = options
        self._session = self._open()
        self._is_new = True

    @property
    def title(self) -> str:
        """What the prompt calls it."""
        return str(self._session.model)

    def say(self, text: str) -> Generator[str, None, None]:
        """Say something; the answer comes in pieces."""
        messages = [{"role": "user", "content": text}]
        if self._is_new and self._system:
            messages.insert(0, {"role": "system", "content": self._system})
        stream = self._session.stream(messages, **self._options)
        with closing(iter(stream)) as pieces:
            yield from pieces
        self._is_new = False

    def reset(self) -> None:
        """Begin the conversation anew."""
        self.close()
        self._session = self._open()
        self._is_new = True

    def close(self) -> None:
        """End the conversation."""
        self._session.close()

    def _open(self) -> BlockingLlmSession:
        return self._client.llm.session(model=self._model)


class AgentPartner:
    """A handler of an agent that takes a text; the agent itself remembers what was said."""

    def __init__(self, client: Client, agent: str, handler: str | None) -> None:
        """Find the handler: the one named, one with a usual name, or the only one.

        Raises:
            UnknownActorError, NoHandlerError.
        """
        # Imported here: see actors/cli/app.py.
        from actors.reference import Method

        self.title = agent
        handlers: dict[str, str] = client.system("inspect", actor=agent_key(agent))["handlers"]
        name = _choose(agent, handlers, handler)
        is_stream = any(word in handlers[name] for word in _STREAMS)
        reference = client.lookup(agent_key(agent))
        self._method = Method(reference, name, "stream" if is_stream else "ask")
        self._is_stream = is_stream

    def say(self, text: str) -> Generator[str, None, None]:
        """Say something; the answer comes in pieces, or as one."""
        answer = self._method(text)
        for piece in answer if self._is_stream else [answer]:
            yield to_text(piece)

    def reset(self) -> None:
        """Refuse: what the agent remembers is its own."""
        problem = "an agent's memory is its own; `llmos restart` keeps it too"
        raise SchemaError(where="/reset", problem=problem)

    def close(self) -> None:
        """Nothing is kept here."""


def _choose(agent: str, handlers: dict[str, str], wanted: str | None) -> str:
    usual = [name for name in USUAL_HANDLERS if name in handlers]
    if wanted is None and usual:
        return usual[0]
    if wanted is None and len(handlers) == 1:
        return next(iter(handlers))
    if wanted not in handlers:
        known = ", ".join(sorted(handlers)) or "none"
        raise NoHandlerError(actor=agent, handler=wanted or USUAL_HANDLERS[0], known=known)
    return wanted
