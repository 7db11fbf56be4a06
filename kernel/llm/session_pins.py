"""Pins: a session's blocks are kept on its engine until a time, whatever else needs room.

A pin is of the tokens that were computed when it was made; when the session grows, it is made
anew. It ends with the session, with the time, and with the engine's incarnation.
"""

from __future__ import annotations

from contextlib import suppress

from ext.kv_errors import UnknownPinError
from kernel.llm.engines import Engines
from kernel.llm.sessions import LlmSession
from kernel.state import KernelState


class Pins:
    """See the module head."""

    def __init__(self, state: KernelState, engines: Engines) -> None:
        self.state = state
        self.engines = engines

    def refresh(self, session: LlmSession) -> None:
        """Bring a session's pin in line with its tokens and its time."""
        engine = self.engines.get(session.engine)
        scheduler = engine.scheduler if engine is not None else None
        old, session.pin = session.pin, None
        if scheduler is None:
            return
        pin: int | None = None
        if session.pinned_until_ns > self.state.now_ns and len(session.ids):
            until_ns = session.pinned_until_ns
            pin = scheduler.pin(session.owner, session.ids, 0, until_ns)
        session.pin = (scheduler, pin) if pin is not None else None
        if old is not None and old[0] is scheduler:
            with suppress(UnknownPinError):  # its time has come
                scheduler.unpin(old[1])
