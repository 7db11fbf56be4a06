"""Base class of drivers: actors that serve the kernel itself, such as engines (ipc/engine.py).

A driver has handlers and turns like any actor and, beside them, a conversation with the kernel
in envelopes of its own kinds. These belong to no turn and are volatile: when the kernel is new,
``linked`` tells so, and both sides begin with nothing.

Everything here runs on the event loop's thread and must not block it.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from actors.actor import Actor
from ext.wire import Envelope
from ipc.plain import encode_plain
from ipc.protocol import Kind


class Driver(Actor):
    """See the module head."""

    driver: ClassVar[Literal["engine"]]

    def linked(self) -> None:
        """The kernel knows nothing of this driver yet: the first welcome, or a new kernel."""
        raise NotImplementedError

    def take(self, envelope: Envelope) -> None:
        """An envelope of the driver's kinds has come; they come once and in order."""
        raise NotImplementedError

    def post(self, kind: Kind, body: Any, *, correlation: int = 0, flags: int = 0) -> None:
        """Send the kernel an envelope of the driver's kinds. body: plain msgpack values."""
        payload = encode_plain(body)
        envelope = Envelope(kind, self._port.id, 0, payload, correlation=correlation, flags=flags)
        self._port.peer.post(envelope)
