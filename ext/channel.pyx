# cython: language_level=3, boundscheck=True, wraparound=False
# cython: initializedcheck=False, embedsignature=True
"""One end of a numbered link: numbers given, numbers taken, what is kept for resending.

What it is not: the contract, which is in ipc/channel.py, or the moving of bytes. It knows
envelopes by their number and size only. Imports nothing of this project but ext/wire.

Invariants:
  K1  ``_kept[_first:]`` are the envelopes numbered and not acknowledged, oldest first; what is
      before ``_first`` is None, and less than half of a list longer than a few.
  K2  ``_kept_bytes`` is the sum of their sizes.

Cost: O(1) an envelope, 0.05 us to number or to take one; in Python every message paid four of
these calls in each process it passed, a twelfth of an ask (bench/README.md). No lock: one owner.
"""

from ext.wire cimport Envelope, size_of

cdef enum:
    _FEW = 32                # places; a shorter list is not worth shifting


cdef class Channel:
    """One end of a numbered link."""

    def __init__(self, int64_t window, int64_t window_bytes, *, uint64_t taken=0):
        """Make an end. window: envelopes; taken: highest number already taken earlier."""
        self.window = window
        self.window_bytes = window_bytes
        self.next_sequence = 1
        self.taken = taken
        self.heard = 0
        self.covered = taken
        self._kept = []
        self._first = 0
        self._kept_bytes = 0

    cdef bint _has_room(self) noexcept:
        cdef Py_ssize_t num_kept = len(self._kept) - self._first
        return num_kept < self.window and self._kept_bytes < self.window_bytes

    cdef int _number(self, Envelope envelope) except -1:
        envelope.sequence = self.next_sequence
        envelope.acknowledged = self.covered
        self.next_sequence += 1
        self._kept.append(envelope)
        self._kept_bytes += size_of(envelope)
        return 0

    @property
    def has_room(self):
        """Say whether another envelope may be sent within the window."""
        return self._has_room()

    @property
    def num_kept(self):
        """Return the number of envelopes sent and not yet covered by the other end."""
        return len(self._kept) - self._first

    @property
    def kept_bytes(self):
        """Return the bytes of the envelopes sent and not yet covered."""
        return self._kept_bytes

    def number(self, Envelope envelope not None):
        """Give the envelope the next number, keep it until it is covered, and return it."""
        self._number(envelope)
        return envelope

    def offer(self, Envelope envelope not None):
        """Number and keep the envelope if it may be sent within the window; say whether."""
        if not self._has_room():
            return False
        self._number(envelope)
        return True

    def offer_all(self, list envelopes not None):
        """``offer`` each in order, up to the first without room; return how many had it."""
        cdef Py_ssize_t count = 0
        cdef Envelope envelope
        for envelope in envelopes:
            if not self._has_room():
                break
            self._number(envelope)
            count += 1
        return count

    def receive(self, Envelope envelope not None):
        """Return the envelope if it is the next one, else None: it is dropped."""
        if envelope.sequence != self.taken + 1:
            return None
        self.taken += 1
        return envelope

    def take(self, Envelope envelope not None):
        """``receive`` and ``cover`` at once; say whether it was the next one."""
        if envelope.sequence != self.taken + 1:
            return False
        self.taken += 1
        self.covered = self.taken
        return True

    def cover(self):
        """From now on ``taken`` may be told to the other end: it is safe here."""
        self.covered = self.taken

    def acknowledge(self, uint64_t mark):
        """Forget what the other end has taken, up to ``mark``; return it, oldest first."""
        cdef list kept = self._kept
        cdef Py_ssize_t count = len(kept)
        cdef Py_ssize_t place = self._first
        cdef list done = []
        cdef Envelope envelope
        if mark > self.heard:
            self.heard = mark
        while place < count:
            envelope = <Envelope>kept[place]
            if envelope.sequence > mark:
                break
            self._kept_bytes -= size_of(envelope)
            done.append(envelope)
            kept[place] = None
            place += 1
        self._first = place
        if place == count or (place > _FEW and 2 * place > count):  # K1
            del kept[:place]
            self._first = 0
        return done

    def kept_as_sent(self):
        """Return what must be resent, each with the mark it first carried.

        A mark tells what was accepted, but for the refusals before it: it must not outrun them.
        """
        return tuple(self._kept[self._first:])

    def unacknowledged(self):
        """Return what must be resent, oldest first, with the present mark."""
        cdef list kept = self._kept[self._first:]
        cdef Envelope envelope
        for envelope in kept:
            envelope.acknowledged = self.covered
        return tuple(kept)

    def forget_incoming(self):
        """Expect number 1 next: the other end begins anew (a new kernel epoch)."""
        self.taken = 0
        self.covered = 0
