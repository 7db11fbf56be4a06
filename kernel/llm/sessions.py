"""LLM sessions: whose tokens, of which model version, and whose turn it is to go on.

The tokens are the truth; blocks are found again by them. One request goes on with a session at
a time, the others wait in line. In a chat the messages are kept too, because a template renders
a whole conversation.

Leaf: rows are written by the service.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgpack
import numpy as np
import numpy.typing as npt

from ipc.errors import UnknownSessionError
from ipc.llm import SessionInfo
from kernel.llm.registry import ModelVersion

if TYPE_CHECKING:
    from kernel.budget.accounts import Account
    from kernel.llm.scheduler import Scheduler

Ids = npt.NDArray[np.int32]
NO_IDS: Ids = np.empty(0, np.int32)


@dataclass(slots=True, eq=False)
class SessionPin:
    """Blocks of a session that are kept. account: whose budget they are reserved of, if any."""

    session: LlmSession
    scheduler: Scheduler
    handle: int
    until_ns: int
    blocks: int
    account: Account | None = None


@dataclass(slots=True, eq=False)
class LlmSession:
    """See the module head. turn: that made it, until that has committed."""

    id: int
    owner: int
    model: ModelVersion
    ids: Ids = field(default_factory=lambda: NO_IDS)
    messages: list[dict[str, Any]] = field(default_factory=list)
    tools: list[dict[str, Any]] = field(default_factory=list)
    turn: int = 0
    # not journaled
    family: int = 0  # of itself and its forks
    engine: int = 0  # actor of the engine that has its blocks
    pin: SessionPin | None = None
    pinned_until_ns: int = 0
    running: int = 0  # the call that goes on with it
    line: deque[int] = field(default_factory=deque)  # calls that wait for that one

    @property
    def program(self) -> str:
        """Name of its calls, which follow each other."""
        return f"s{self.id}"

    def info(self) -> SessionInfo:
        """Return what its owner is told."""
        return SessionInfo(
            session=self.id,
            model=self.model.name,
            version=self.model.version,
            tokens=len(self.ids),
        )

    def to_row(self) -> bytes:
        """Return what is journaled."""
        row = {
            "owner": self.owner,
            "model": [self.model.name, self.model.version],
            "ids": self.ids.tobytes(),
            "messages": self.messages,
            "tools": self.tools,
            "turn": self.turn,
        }
        return bytes(msgpack.packb(row))


class LlmSessions:
    """All open sessions."""

    def __init__(self) -> None:
        self._sessions: dict[int, LlmSession] = {}
        self._by_owner: dict[int, dict[int, None]] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[LlmSession]:
        return iter(list(self._sessions.values()))

    def add(self, session: LlmSession) -> None:
        """Keep a session."""
        self._sessions[session.id] = session
        self._by_owner.setdefault(session.owner, {})[session.id] = None

    def find(self, owner: int, identifier: object) -> LlmSession:
        """Return an owner's session. Raises UnknownSessionError."""
        session = self._sessions.get(identifier) if isinstance(identifier, int) else None
        if session is None or session.owner != owner:
            raise UnknownSessionError(session=identifier)
        return session

    def get(self, identifier: int) -> LlmSession | None:
        """Return the session, whoever owns it."""
        return self._sessions.get(identifier)

    def remove(self, session: LlmSession) -> None:
        """Forget a session."""
        self._sessions.pop(session.id, None)
        self._disown(session)

    def give(self, session: LlmSession, owner: int) -> None:
        """Let a session be another's."""
        self._disown(session)
        session.owner = owner
        self._by_owner.setdefault(owner, {})[session.id] = None

    def _disown(self, session: LlmSession) -> None:
        owned = self._by_owner.get(session.owner)
        if owned is not None:
            owned.pop(session.id, None)
            if not owned:
                del self._by_owner[session.owner]

    def of_owner(self, owner: int) -> list[LlmSession]:
        """Return an owner's sessions."""
        return [self._sessions[identifier] for identifier in self._by_owner.get(owner, ())]

    def of_model(self, model: ModelVersion) -> list[LlmSession]:
        """Return the sessions that began with a version; linear, for rare use."""
        return [session for session in self._sessions.values() if session.model is model]

    def load(self, identifier: int, blob: bytes, models: dict[tuple[str, int], Any]) -> None:
        """Take a journaled session."""
        row = msgpack.unpackb(blob)
        session = LlmSession(
            identifier,
            row["owner"],
            models[tuple(row["model"])],
            np.frombuffer(row["ids"], np.int32),
            row["messages"],
            row["tools"],
            row["turn"],
        )
        self.add(session)
