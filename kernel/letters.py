"""Dead letters as the core keeps them: added with their record, dropped when too many or old.

Who becomes one is decided by those who call ``keep``; the queue is kernel/dead_letters.py.
Cost: O(1).
"""

from __future__ import annotations

from ext.wire import Envelope
from ipc.errors import LLMOSError, to_wire
from kernel.dead_letters import Letter
from kernel.state import KernelState


class Letters:
    """See the module head."""

    def __init__(self, state: KernelState) -> None:
        self.state = state

    def keep(
        self,
        envelope: Envelope,
        receiver: int,
        reason: str,
        error: LLMOSError | None,
        attempts: int,
    ) -> None:
        """Add a dead letter; what is too many or too old goes."""
        state = self.state
        letter = Letter(
            number=state.new_id(),
            envelope=envelope.copy(),
            receiver_name=state.name_of(receiver),
            reason=reason,
            error=to_wire(error) if error is not None else None,
            attempts=attempts,
            died_wall_ns=state.wall_ns,
        )
        state.letters.add(letter)
        state.output.changes.put_new("dead_letter", letter.number, letter.to_row())
        state.counters.add("dead_letters")
        self.expire()

    def expire(self) -> None:
        """Drop what is too many or too old, the oldest first; counted, and so logged."""
        for number in self.state.letters.surplus(self.state.wall_ns):
            self.drop(number)
            self.state.counters.add("dead_letters_expired")

    def drop(self, number: int) -> Letter | None:
        """Forget a dead letter and return it, or None if there is none."""
        letter = self.state.letters.letters.pop(number, None)
        if letter is not None:
            self.state.output.changes.delete("dead_letter", number)
        return letter
