"""Connections and client sessions: who is on which route, how far each side has got.

A session is a random id and a mark; it lives on for a grace period after its connection is
lost. Agents' channels live on their ActorRecord. Leaf: no protocol decisions here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ipc.channel import Channel


@dataclass(slots=True)
class Session:
    """A client of ``connect()``. ``route`` is None while it is lost."""

    id: int
    channel: Channel
    route: bytes | None
    held: dict[int, int] = field(default_factory=dict)  # message id -> correlation, waits for room
    told: int = 0  # the mark it was last told
    resent_to: int = 0  # up to here envelopes were sent again, with the marks they carried
    heard_ns: int = 0
    incarnation: int = 0  # always 0; agents have some
    attempt: int = 0  # number of its connection, as it counts them


class Peers:
    """Routes to whom they belong: actor id or session id; sessions by id."""

    __slots__ = ("owners", "sessions")

    def __init__(self) -> None:
        self.owners: dict[bytes, int] = {}
        self.sessions: dict[int, Session] = {}

    def bind(self, route: bytes, owner: int) -> None:
        """The peer on this route has proved who it is."""
        self.owners[route] = owner

    def unbind(self, route: bytes | None) -> None:
        """Forget a route."""
        if route is not None:
            self.owners.pop(route, None)
