"""System calls on LLM sessions, and what ends sessions.

Forks and appends copy token ids, not blocks: children find the blocks of what they share by its
content, so a context is computed once, whichever branch comes first; what they share inside a block
is copied from a branch that runs (kernel/llm/siblings.py). What a pin keeps is found
the same way.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from ipc.errors import LimitError, LLMOSError, UnknownCallError, UnknownSessionError
from ipc.llm import SessionInfo
from kernel.actor_record import ActorRecord
from kernel.calls import Call
from kernel.llm.fleet import Fleet
from kernel.llm.generation import Generation
from kernel.llm.registry import ModelRegistry
from kernel.llm.sessions import LlmSession, LlmSessions
from kernel.state import Peer

MAX_FORKS = 1024


class SessionCalls:
    """See the module head."""

    def __init__(
        self, generation: Generation, models: ModelRegistry, sessions: LlmSessions, fleet: Fleet
    ) -> None:
        self.generation = generation
        self.state = generation.state
        self.models = models
        self.sessions = sessions
        self.fleet = fleet

    # --- calls --------------------------------------------------------------------------

    def open(self, peer: Peer, call: Call, arguments: dict[str, Any]) -> SessionInfo:
        """Begin a session on the newest version of a model."""
        model = self.models.resolve(arguments.get("model"))
        return self._make(LlmSession(0, peer.id, model), call).info()

    def fork(self, peer: Peer, call: Call, arguments: dict[str, Any]) -> list[SessionInfo]:
        """Begin sessions that go on from where this one stands."""
        parent = self.sessions.find(peer.id, arguments["session"])
        count = arguments.get("count", 1)
        if type(count) is not int or not 1 <= count <= MAX_FORKS:
            raise UnknownCallError(call="llm_fork", problem=f"count is 1 to {MAX_FORKS}")
        self._check_room(count)
        return [self._make(self._copy(parent), call).info() for _ in range(count)]

    def pin(self, peer: Peer, call: Call, arguments: dict[str, Any]) -> dict[str, Any]:
        """Keep a session's blocks for a while, whatever else needs room.

        Raises:
            LimitError, BudgetExceededError: there is no room for them. All is as it was.
        """
        session = self.sessions.find(peer.id, arguments["session"])
        ttl_s = arguments.get("ttl_s", 0)
        if not isinstance(ttl_s, (int, float)) or not 0 <= ttl_s <= 86_400:
            raise UnknownCallError(call="llm_pin", problem="ttl_s is 0 to 86400 seconds")
        before = session.pinned_until_ns
        session.pinned_until_ns = self.state.now_ns + int(ttl_s * 1e9) if ttl_s else 0
        try:
            self.generation.pins.refresh(session)
        except LLMOSError:
            session.pinned_until_ns = before
            raise
        return {}

    def close(self, peer: Peer, call: Call, arguments: dict[str, Any]) -> dict[str, Any]:
        """End a session; a request that runs in it is ended too."""
        self.end(self.sessions.find(peer.id, arguments["session"]))
        return {}

    def _make(self, session: LlmSession, call: Call) -> LlmSession:
        self._check_room(1)
        session.id = self.state.new_id()
        session.family = session.family or session.id
        owner = self.state.peer(call.owner)
        if isinstance(owner, ActorRecord) and call.turn:
            session.turn = call.turn
            self.state.llm.made.setdefault(call.turn, []).append(session.id)
        self.sessions.add(session)
        self._save(session)
        return session

    def _check_room(self, count: int) -> None:
        limit = self.state.config.llm_sessions
        if len(self.sessions) + count > limit:
            raise LimitError(what="LLM sessions", value=len(self.sessions), limit=limit)

    def _copy(self, parent: LlmSession) -> LlmSession:
        return LlmSession(
            0,
            parent.owner,
            parent.model,
            parent.ids,
            list(parent.messages),
            list(parent.tools),
            engine=parent.engine,
            family=parent.family,
        )

    def _save(self, session: LlmSession) -> None:
        self.state.output.changes.put("llm_session", session.id, (session.to_row(),))

    # --- ends ---------------------------------------------------------------------------

    def end(self, session: LlmSession) -> None:
        """Forget a session and what waits in it."""
        waiting, session.line = [*session.line, session.running], deque()
        for call in waiting:
            self.generation.table.fail_call(call, UnknownSessionError(session=session.id))
        session.pinned_until_ns = 0
        self.generation.pins.refresh(session)
        self.generation.holds.forget(session.program)
        self.sessions.remove(session)
        self.state.output.changes.delete("llm_session", session.id)
        self.fleet.retire(session.model)

    def settle(self) -> None:
        """End the sessions of those who are gone, and of turns that never committed."""
        todo = self.state.llm
        for identifier in todo.kept:
            session = self.sessions.get(identifier)
            if session is not None:
                session.turn = 0
                self._save(session)
        ending = [self.sessions.get(identifier) for identifier in todo.undone]
        for owner in todo.departed:
            ending += self.sessions.of_owner(owner)
        for session in ending:
            if session is not None and self.sessions.get(session.id) is session:
                self.end(session)
        todo.kept, todo.undone = [], []
