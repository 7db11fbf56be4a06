# cython: language_level=3, boundscheck=True, wraparound=False
# cython: initializedcheck=False, embedsignature=True
"""A line of turns in the order of a policy, and what each of them is given while it is served.

Mechanism only: what a turn is and what its policy counts is said in kernel/turn_order.py; keys are
the policy's, whose functions are called as kernel/policy/policy.py describes them. A function given
as None does nothing, and is not called. Imports nothing from this project.

An **agent** here is anything with these: ``seat``, where it stands to be granted a message, or
None; ``seats``, those of its open turns; ``open``, its turns by number in the order of their
grants, of which the first ``concurrency`` run; ``id`` and ``spec``. A turn has a ``message`` and
``is_parked``; a message ``id``, ``due_ns`` and an ``envelope`` with ``trace`` and ``priority``.

Invariants (``check_integrity``):
  O1  an agent stands in line at most once to be granted a message; a turn that goes on likewise.
  O2  the policy knows a job from its arrival in line until its turn has ended, or it left the line;
      of one that ends it is told after the agent's next has arrived (``settle``): who has more
      mail was not idle in between. Where ``tells_at_once`` it is told when that happens.
  O3  who waits is in the queue under the key the policy gives now, once ``rekey`` was asked.
  O4  a seat is in ``seats``, by the number of its job, from its arrival to its end; it has a handle
      if it is in the queue, once.

Cost: what the policy's functions cost, a queue operation and one object a job. In Python this took
twice as long (bench/turn_policies.py). Owner: one event loop.
"""

from libc.stdint cimport int64_t, uint64_t

from ext.dary_heap cimport LINE_BYTES, prefetch
from ext.job cimport Job
from ext.ready_queue cimport QUEUE_OK, FloatReadyQueue, QueueEntry, float_order

cdef enum:
    SEAT_BYTES = 256             # about what a seat takes


cdef class Seat(Job):
    """A job, and where it stands.

    record: its agent.  alike: which turns its length is like; None: nobody asks.
    call: the finished call whose answer it waits to be given; 0: it waits to be granted.
    handle: of its place in the queue; 0: it does not wait for a slot.
    since_ns: when it took its slot; 0: it has none.  served: what it was given, in tokens.
    """

    cdef readonly object record
    cdef object alike
    cdef readonly uint64_t call, handle
    cdef readonly int64_t since_ns
    cdef int64_t served


cdef class TurnLine:
    """See the module head.

    key, on_arrival, on_service, on_done, rekey: the policy's.
    guess: called with agent and message, gives which turns this one is like and how many tokens it
        will be given.  learn: told the first and what it was given, when it has ended.
    token_ns: service is counted in tokens of this length, at least one a stretch.
    """

    cdef readonly dict seats
    cdef FloatReadyQueue _queue  # of seats, by their addresses; `seats` keeps them alive (O4)
    cdef dict _ended             # by number; their policy is about to be told
    cdef object _on_arrival, _key, _on_service, _on_done, _rekey, _guess, _learn
    cdef int64_t _token_ns
    cdef bint _tells_at_once
    cdef Seat _taken             # the last one, until it begins or ends: it is asked for next

    def __cinit__(self, *_args, **_options):
        self.seats, self._ended, self._queue = {}, {}, FloatReadyQueue()

    def __init__(
        self, *, key, on_arrival, on_service, on_done, rekey, guess, learn, int64_t token_ns,
        bint tells_at_once,
    ):
        self._key, self._on_arrival, self._on_service = key, on_arrival, on_service
        self._on_done, self._rekey, self._guess, self._learn = on_done, rekey, guess, learn
        self._token_ns, self._tells_at_once = token_ns, tells_at_once

    def __len__(self):
        """Return how many wait for a slot."""
        return len(self._queue)

    # ---- the line ----

    def line_up(self, record, message, now_ns, priority, parents=()):
        """Let an agent stand in line with this message, in place of the one it stood with.

        priority: of the message, or a more urgent one it has inherited.
        """
        cdef Seat seat = record.seat
        if seat is not None:
            if seat.id == message.id:
                if seat.priority != priority:
                    self.set_priority(seat, priority, now_ns)
                return
            self.end(seat, now_ns)
        seat = self.arrive(record, message, now_ns, priority, parents)
        record.seat = seat
        self.stand(seat, now_ns)

    def leave(self, record, now_ns):
        """An agent wants no turn any more, or may not have one."""
        cdef Seat seat = record.seat
        if seat is not None:
            self.end(seat, now_ns)

    def line_up_answer(self, record, message, uint64_t call, now_ns, priority):
        """Let a parked turn stand in line to be given the answer of a call."""
        cdef Seat seat = self.seats.get(message.id)
        if seat is None or seat.record is not record:
            seat = record.seats[message.id] = self.arrive(record, message, now_ns, priority, ())
        seat.call = call
        if not seat.handle:
            self.stand(seat, now_ns)

    def settle(self, now_ns):
        """All that wants a slot stands in line: let the policy forget the jobs that have ended."""
        while self._ended:
            self._on_done(self._ended.popitem()[1], now_ns)

    def take(self, now_ns):
        """Return who gets a slot that is free, which stands in line no more; None: nobody waits."""
        cdef QueueEntry entry
        cdef Seat seat
        if self._rekey is not None:
            for number in self._rekey(now_ns):
                seat = self.seats.get(number)
                if seat is not None and seat.handle:
                    self.stand(seat, now_ns)
        if self._queue.c_pop(&entry) != QUEUE_OK:
            return None
        # SAFETY: the item is the address of a seat, which is in `seats` (O4).
        seat = <Seat><void*>entry.item
        seat.handle = 0
        if not seat.call:
            seat.record.seat = None
        self._taken = seat
        self.fetch_next()
        return seat

    cdef void fetch_next(self) noexcept:
        """Bring who is first in line into the cache: of ten thousand, a decision meets few twice."""
        cdef QueueEntry entry
        cdef uint64_t offset
        if self._queue.c_peek(&entry) == QUEUE_OK:
            for offset in range(0, SEAT_BYTES, LINE_BYTES):
                prefetch(<const void*>(entry.item + offset))

    def drop(self, Seat seat not None, now_ns):
        """Who was taken cannot have the slot: forget the job, or let the turn stay parked."""
        if not seat.call:
            self.end(seat, now_ns)

    def raise_priority(self, message, priority, now_ns):
        """A job has inherited a more urgent priority."""
        cdef Seat seat = self.seats.get(message)
        if seat is not None and priority < seat.priority:
            self.set_priority(seat, priority, now_ns)

    cdef object set_priority(self, Seat seat, priority, now_ns):
        seat.priority = priority
        if seat.handle:
            self.stand(seat, now_ns)

    cdef object stand(self, Seat seat, now_ns):
        """Let a seat wait for a slot, behind those of its key; if it does, under its key of now."""
        cdef uint64_t order
        cdef double key = self._key(seat, now_ns)
        if float_order(key, &order) != QUEUE_OK:
            raise ValueError(f"the policy's key of job {seat.id} is {key}")
        if seat.handle:
            self._queue.c_update(seat.handle, order)
        else:
            self._queue.c_push(order, <uint64_t><void*>seat, 0, &seat.handle)

    cdef object unstand(self, Seat seat):
        """Let a seat wait no more."""
        cdef QueueEntry entry
        if seat.handle:
            self._queue.c_remove(seat.handle, &entry)
            seat.handle = 0

    # ---- service ----

    def account(self, record, now_ns):
        """Bring what the policy knows in line with the agent's turns: begun, waiting, ended."""
        cdef dict turns = record.open, seats = record.seats
        cdef Py_ssize_t running
        if seats:
            for number in list(seats):
                if number not in turns:
                    self.end(seats[number], now_ns)
        if not turns:
            return
        running = record.concurrency
        for number, turn in turns.items():
            if running == 0:
                break
            running -= 1
            self.follow(record, seats, number, turn, now_ns)

    cdef object follow(self, record, dict seats, number, turn, now_ns):
        """Note whether a turn that may run has its slot."""
        cdef Seat seat = seats.get(number)
        if seat is None:
            seat = seats[number] = self.begun(record, turn.message, now_ns)
        if turn.is_parked:
            if seat.since_ns:
                self.charge(seat, now_ns)
        elif not seat.since_ns:
            seat.since_ns = now_ns
            self.unstand(seat)
            seat.call = 0

    cdef Seat begun(self, record, message, now_ns):
        """Return the seat of a turn that was granted; one that never stood in line arrives here."""
        cdef Seat seat = self._taken
        self._taken = None
        if seat is None or seat.record is not record or seat.id != message.id:
            seat = self.seats.get(message.id)
        if seat is None or seat.record is not record:
            return self.arrive(record, message, now_ns, message.envelope.priority, ())
        if seat.handle:                          # granted without having been taken from the line
            record.seat = None
        return seat

    cdef object charge(self, Seat seat, now_ns):
        """Tell the policy what a job was given since it took its slot, which it has no more."""
        cdef int64_t tokens = max(<int64_t>1, (<int64_t>now_ns - seat.since_ns) // self._token_ns)
        seat.since_ns = 0
        seat.served += tokens
        if self._on_service is not None:
            self._on_service(seat, tokens, now_ns)

    # ---- jobs ----

    cdef Seat arrive(self, record, message, now_ns, priority, parents):
        """Let the policy know of a new job; return its seat, which does not wait yet."""
        cdef Seat seat = Seat.__new__(Seat)
        number, due_ns = message.id, message.due_ns
        seat.record, seat.id, seat.owner, seat.priority = record, number, record.id, priority
        seat.program = message.envelope.trace or number
        seat.arrival_ns, seat.parents = now_ns, parents
        seat.prompt_tokens, seat.predicted_tokens = 0, 1.0
        seat.weight = (<dict?>record.spec).get("weight", 1.0)
        if due_ns:                               # one that is past is about to end by its timer
            seat.deadline_ns = due_ns if due_ns > now_ns else now_ns + 1
        if self._guess is not None:
            seat.alike, seat.predicted_tokens = self._guess(record, message)
        if number in self.seats:                 # it was another agent's of its pool
            self.end(self.seats[number], now_ns)
        if self._ended and number in self._ended:            # it begins anew
            self._on_done(self._ended.pop(number), now_ns)
        if self._on_arrival is not None:
            self._on_arrival(seat, now_ns)
        self.seats[number] = seat
        return seat

    cdef object end(self, Seat seat, now_ns):
        """Forget a job: its turn has ended, or it wants no slot any more."""
        number, record = seat.id, seat.record
        if seat.since_ns:
            self.charge(seat, now_ns)
        self.unstand(seat)
        if self._on_done is not None:
            if self._tells_at_once:
                self._on_done(seat, now_ns)
            else:
                self._ended[number] = seat
        if self._learn is not None and seat.served:
            self._learn(seat.alike, seat.served)
        del self.seats[number]
        if self._taken is seat:
            self._taken = None
        if record.seat is seat:
            record.seat = None
        else:
            (<dict?>record.seats).pop(number, None)

    # ---- what stands ----

    def in_order(self):
        """Return the seats that wait, the first in line first. Cost: O(waiting log waiting)."""
        return [<Seat><void*><uint64_t>entry.item for entry in self._queue]

    def check_integrity(self):
        """Verify the invariants; for tests. Raises AssertionError."""
        self._queue.check_integrity()
        cdef Seat seat
        waiting = {entry.handle: entry.item for entry in self._queue}
        for number, seat in self.seats.items():
            assert seat.id == number, "O4"
            assert not seat.handle or waiting.pop(seat.handle) == <uint64_t><void*>seat, "O4"
            is_first, is_open = seat.record.seat is seat, seat.record.seats.get(number) is seat
            assert is_first != is_open, "O2"
            assert not is_first or (seat.handle and not seat.call), "O1"
        assert not waiting, "O4"
