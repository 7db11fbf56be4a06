"""The output rule, and one journal commit for several loop turns where nobody is kept waiting.

What it is not: the journal, or the socket. It is given outputs of the core (kernel/output.py)
and decides when their changes are committed and when their frames and commands leave.

Invariants:
  G1  frames and commands of an output leave after its changes are committed, and in order,
      except those of an output that is_deferrable while nothing before it is held.
  G2  nothing is held longer than HOLD_NS, over more than MAX_SETS outputs, or once the socket
      has nothing more to take: a lone message is never delayed.
  G3  if the commit fails, nothing of what is held has left.

Cost: one dict update a journal row. Where messages are told, handled and committed between two
commits, their rows never reach the disk.
"""

from __future__ import annotations

from collections.abc import Callable

from kernel.output import Output
from kernel.records import Journal, WriteSet

HOLD_NS = 1_000_000
MAX_SETS = 32


class GroupCommit:
    """See the module head."""

    def __init__(self, journal: Journal, emit: Callable[[Output], None]) -> None:
        """emit: sends an output's frames and runs its commands."""
        self._journal = journal
        self._emit = emit
        self._changes = WriteSet()
        self._num_sets = 0
        self._held: list[Output] = []
        self.due_ns: int | None = None  # by when ``add`` or ``flush`` must be called again

    def add(self, output: Output, now_ns: int, *, is_busy: bool) -> None:
        """Take the output of one loop turn. is_busy: the socket has more to take.

        Raises JournalWriteError (G3).
        """
        if output.changes:
            self._changes.absorb(output.changes)
            self._num_sets += 1
            if self.due_ns is None:
                self.due_ns = now_ns + HOLD_NS
        if output.is_deferrable and not self._held:
            self._emit(output)
        else:
            self._held.append(output)
        if self._is_time(now_ns, is_busy=is_busy):
            self.flush()

    def _is_time(self, now_ns: int, *, is_busy: bool) -> bool:
        if self.due_ns is not None and (now_ns >= self.due_ns or self._num_sets >= MAX_SETS):
            return True
        if not self._held:
            return False
        return not is_busy or bool(self._held[-1].commands)

    def flush(self) -> None:
        """Commit what has gathered, then let out what was held for it."""
        changes, self._changes = self._changes, WriteSet()
        held, self._held = self._held, []
        self._num_sets = 0
        self.due_ns = None
        if changes:
            self._journal.commit(changes)
        for output in held:
            self._emit(output)
