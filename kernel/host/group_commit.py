"""The output rule, and one journal commit for several loop turns where nobody is kept waiting.

What it is not: the journal, or the socket. It is given outputs of the core (kernel/output.py)
and decides when their changes are committed and when their frames and commands leave.

Invariants:
  G1  frames and commands of an output leave after its changes are committed, and in order,
      but for batches that are early: these leave at once, unless a batch for the same route
      is held, a command is, or a block of ids has yet to be committed.
  G2  answers are held no longer than HOLD_NS, over no more than MAX_SETS outputs, and not at
      all once the socket has nothing more to take: a lone message is never delayed.
  G3  acknowledgements alone of BULK messages or more may be held for ACK_HOLD_NS, as long as
      that pays: each QUIET_NS, messages among them must have been handled.
  G4  if the commit fails, nothing of what is held has left.

Cost: one dict update a journal row. Where messages are told, handled and committed between two
commits, their rows never reach the disk: writing and deleting one costs 8 us. Hence G3. It also
keeps a sender that waits for acknowledgements from filling the mailbox of one who handles them
about as fast, which would cost an answer more for each message (HELD, ACCEPTED).
"""

from __future__ import annotations

from collections.abc import Callable

from kernel.output import Output
from kernel.records import Journal, WriteSet

HOLD_NS = 1_000_000
ACK_HOLD_NS = 20_000_000
QUIET_NS = 2_000_000
MAX_SETS = 64
BULK = 16


class GroupCommit:
    """See the module head."""

    def __init__(self, journal: Journal, emit: Callable[[Output], None]) -> None:
        """emit: sends an output's frames and runs its commands."""
        self._journal = journal
        self._emit = emit
        self._changes = WriteSet()
        self._num_sets = 0
        self._num_deleted = 0  # when last looked at
        self._held: list[Output] = []
        self._held_routes: set[bytes] = set()
        self._is_patient = True  # all that is held
        self._paid_ns = 0  # when holding last paid, or began
        self._due_ns: int | None = None  # by when all must be committed

    @property
    def due_ns(self) -> int | None:
        """Return by when ``add`` or ``flush`` must be called again, or None."""
        if self._due_ns is None or not self._held:
            return self._due_ns
        return min(self._due_ns, self._paid_ns + QUIET_NS)

    def add(self, output: Output, now_ns: int, *, is_busy: Callable[[], bool]) -> None:
        """Take the output of one loop turn. is_busy: says whether the socket has more to take.

        Raises JournalWriteError (G4).
        """
        changes = self._changes
        if output.changes:
            changes.absorb(output.changes)
            self._num_sets += 1
            if self._due_ns is None:
                self._due_ns = now_ns + ACK_HOLD_NS
        if output.early and not output.commands and not changes.opens_ids:
            self._let_go_early(output)
        if output.frames or output.commands:
            if self._is_awaited(output) and (output.commands or not is_busy()):
                self._held.append(output)
                self.flush()
                return
            self._hold(output, now_ns)
        if self._is_time(now_ns, is_busy=is_busy):
            self.flush()

    def _is_awaited(self, output: Output) -> bool:
        """Say whether somebody waits for what has to leave."""
        return bool(output.commands) or not (output.is_patient and self._is_patient)

    def _let_go_early(self, output: Output) -> None:
        """Emit the batches that may leave now; the others stay in the output."""
        early = output.early - self._held_routes if self._held_routes else output.early
        if len(early) == len(output.frames):
            self._emit(output)
            output.frames = []
        elif early:
            first = Output()
            first.frames = [frame for frame in output.frames if frame[0] in early]
            self._emit(first)
            output.frames = [frame for frame in output.frames if frame[0] not in early]

    def _hold(self, output: Output, now_ns: int) -> None:
        if not self._held:
            self._paid_ns = now_ns
        self._held.append(output)
        for route, _ in output.frames:
            self._held_routes.add(route)
        if self._is_awaited(output):
            self._is_patient = False
        due_ns = now_ns + (ACK_HOLD_NS if self._is_patient else HOLD_NS)
        if self._due_ns is None or due_ns < self._due_ns:
            self._due_ns = due_ns

    def _is_time(self, now_ns: int, *, is_busy: Callable[[], bool]) -> bool:
        if self._due_ns is not None and (now_ns >= self._due_ns or self._num_sets >= MAX_SETS):
            return True
        if not self._held:
            return False
        if not self._is_patient:
            return not is_busy()
        return not self._pays(now_ns, is_busy=is_busy)

    def _pays(self, now_ns: int, *, is_busy: Callable[[], bool]) -> bool:
        """Say whether holding acknowledgements spares rows (G3)."""
        if self._changes.num_deleted != self._num_deleted:
            self._num_deleted = self._changes.num_deleted
            self._paid_ns = now_ns
        if self._changes.num_new < BULK:
            return is_busy()
        return now_ns < self._paid_ns + QUIET_NS

    def flush(self) -> None:
        """Commit what has gathered, then let out what was held for it."""
        changes, self._changes = self._changes, WriteSet()
        held, self._held = self._held, []
        self._held_routes = set()
        self._num_sets = self._num_deleted = 0
        self._is_patient = True
        self._due_ns = None
        if changes:
            self._journal.commit(changes)
        for output in held:
            self._emit(output)
