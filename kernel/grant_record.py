"""The kernel's own record of who was given a slot: the last grants, in their order.

Off unless an operator asks for it (`llmos policy grants --keep N`): then a ring of that many
entries. Volatile: a new kernel keeps none. It is evidence of what a turn policy did, not a trace
to replay.

Cost: none while off (one None check a grant); then one tuple a grant, about 120 bytes kept each.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from kernel.mailbox import Message
from kernel.program import program_name

MAX_KEPT = 1_000_000

Entry = tuple[int, int, str, int, int, int, str]


class GrantRecord:
    """See the module head."""

    __slots__ = ("_entries", "_number")

    def __init__(self, kept: int) -> None:
        """kept: entries, 1 to MAX_KEPT."""
        self._entries: deque[Entry] = deque(maxlen=kept)
        self._number = 0

    @property
    def kept(self) -> int:
        """Return how many entries there is room for."""
        return self._entries.maxlen or 0

    def add(self, message: Message, wall_ns: int, *, is_answer: bool = False) -> None:
        """Note that an agent was granted a message, or a turn that waited the answer it needs."""
        self._number += 1
        envelope = message.envelope
        self._entries.append(
            (
                self._number,
                wall_ns,
                "answer" if is_answer else "message",
                message.receiver,
                message.id,
                envelope.priority,
                program_name(envelope.trace, message.id),
            )
        )

    def describe(self) -> list[dict[str, Any]]:
        """Return the entries, oldest first."""
        names = ("number", "wall_ns", "given", "actor", "turn", "priority", "program")
        return [dict(zip(names, entry, strict=True)) for entry in self._entries]
