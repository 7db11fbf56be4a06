# cython: language_level=3, boundscheck=True, wraparound=False
# cython: initializedcheck=False, embedsignature=True
"""A line of turns in the order of a policy, and what each of them is given while it is served.

Mechanism only: what a turn is and what its policy counts is said in kernel/turn_order.py; keys are
the policy's, whose functions are called as kernel/policy/policy.py describes them. A function given
as None does nothing, and is not called. Imports nothing from this project.

An **agent** here is anything with these: ``place``, which is the line's, None at first; ``open``,
its turns by number in the order of their grants, the same dictionary for ever; ``id`` and ``spec``.
``concurrency`` of its turns are at work: those that are parked, and the first of the others. A turn
is one of ext/turn.pyx; a message has ``id``, ``due_ns`` and an ``envelope``.

Invariants (``check_integrity``):
  O1  an agent stands in line at most once to be granted a message; a turn that goes on likewise.
  O2  the policy knows a job from its arrival in line until its turn has ended, or it left the line;
      of one that ends it is told after the agent's next has arrived (``settle``): who has more
      mail was not idle in between. Where ``tells_at_once`` it is told when that happens.
  O3  who waits is in the queue under the key the policy gives now, once ``rekey`` was asked.
  O4  a seat is in ``seats``, by the number of its job, from its arrival until its policy has been
      told of its end, and has a place until it ends; it has a handle if it is in the queue, once.

Cost: what the policy's functions cost, a queue operation and one object a job. What an agent's
place keeps is not asked of it at each decision: a look at a field of a Python object costs as much
as a queue operation (bench/turn_policies.py). Owner: one event loop.
"""

from libc.stdint cimport int64_t, uint64_t

from ext.dary_heap cimport LINE_BYTES, ROOT, Heap, prefetch, rank_slot
from ext.job cimport Job
from ext.ready_queue cimport QUEUE_OK, FloatReadyQueue, QueueEntry, float_order
from ext.slot_table cimport Slot
from ext.turn cimport Turn, is_waiting
from ext.turn_lengths cimport Mean, TurnLengths, handler_of
from ext.wire cimport Envelope

cdef enum:
    FIRST_FIVE = ROOT + 5        # place after the first in line and the four of whom one is next


cdef class Place:
    """What the line keeps of an agent.

    seat: where it stands to be granted a message, or None.  begun: the seats of its open turns, in
    the order in which they began.
    turns: its ``open``.  owner: its ``id``.  weight, agent_class: of its spec.
    """

    cdef readonly Seat seat
    cdef readonly list begun
    cdef readonly dict turns
    cdef readonly object owner
    cdef readonly str agent_class
    cdef readonly double weight


cdef class Seat(Job):
    """A job, and where it stands.

    place: its agent's; None: it has ended.  alike: which turns its length is like; None: nobody asks.
    call: the finished call whose answer it waits to be given; 0: it waits to be granted.
    handle: of its place in the queue; 0: it does not wait for a slot.
    since_ns: when it took its slot; 0: it has none.  served: what it was given, in tokens.
    has_begun: its turn is open: it is among those of its place.
    is_told: the policy knows that it has ended.
    """

    cdef readonly Place place
    cdef Mean alike
    cdef readonly uint64_t call, handle
    cdef readonly int64_t since_ns
    cdef int64_t served
    cdef bint has_begun, is_told


cdef inline void fetch_named(Seat seat) noexcept:
    """Bring what a seat names into the cache, or what of it is read when it is served."""
    prefetch(<const void*>seat.place)
    prefetch(<const void*>(<uint64_t><void*>seat.place + LINE_BYTES))
    prefetch(<const void*>seat.note)
    prefetch(<const void*>(<uint64_t><void*>seat.note + LINE_BYTES))


cdef class TurnLine:
    """See the module head.

    key, on_arrival, on_service, on_done, rekey: the policy's.
    lengths: guesses how many tokens a turn will be given; None: the policy does not ask.
    token_ns: service is counted in tokens of this length, at least one a stretch.
    tells_last: the policy wants to know what a job was given before it ended, and not only before
        it waited for an answer.
    is_by_owner: what one of an owner's jobs is given changes the keys of all, and ``rekey`` names
        none of them.
    """

    cdef readonly dict seats
    cdef FloatReadyQueue _queue  # of seats, by their addresses; `seats` keeps them alive (O4)
    cdef list _ended             # seats whose policy is about to be told, but for those it knows of
    cdef object _on_arrival, _key, _on_service, _on_done, _rekey
    cdef TurnLengths _lengths
    cdef int64_t _token_ns
    cdef bint _tells_at_once, _tells_last, _is_by_owner

    def __cinit__(self, *_args, **_options):
        self.seats, self._ended, self._queue = {}, [], FloatReadyQueue()

    def __init__(
        self, *, key, on_arrival, on_service, on_done, rekey, TurnLengths lengths, int64_t token_ns,
        bint tells_at_once, bint tells_last=True, bint is_by_owner=False,
    ):
        self._key, self._on_arrival, self._on_service = key, on_arrival, on_service
        self._on_done, self._rekey, self._lengths = on_done, rekey, lengths
        self._token_ns, self._tells_at_once, self._tells_last = token_ns, tells_at_once, tells_last
        self._is_by_owner = is_by_owner

    def __len__(self):
        """Return how many wait for a slot."""
        return len(self._queue)

    cdef Place place_of(self, record):
        """Return an agent's place, which is new if it has none."""
        cdef Place place = record.place
        cdef dict spec
        if place is None:
            place, spec = Place.__new__(Place), record.spec
            place.owner, place.turns, place.begun = record.id, record.open, []
            place.weight = spec.get("weight", 1.0)
            place.agent_class = spec.get("target") or spec.get("qualname", "")
            record.place = place
        return place

    # ---- the line ----

    def line_up(self, record, message, now_ns, priority, parents=()):
        """Let an agent stand in line with this message, in place of the one it stood with.

        priority: of the message, or a more urgent one it has inherited.
        """
        cdef Place place = self.place_of(record)
        cdef Seat seat = place.seat
        number = message.id
        if seat is not None:
            if seat.id == number:
                if seat.priority != priority:
                    self.set_priority(seat, priority, now_ns)
                return
            self.end(seat, now_ns)
        seat = place.seat = self.arrive(place, number, message, now_ns, priority, parents)
        self.stand(seat, now_ns)

    def leave(self, record, now_ns):
        """An agent wants no turn any more, or may not have one."""
        cdef Place place = record.place
        if place is not None and place.seat is not None:
            self.end(place.seat, now_ns)

    def line_up_answer(self, record, message, uint64_t call, now_ns, priority):
        """Let a parked turn stand in line to be given the answer of a call."""
        cdef Place place = self.place_of(record)
        number = message.id
        cdef Seat seat = self.seats.get(number)
        if seat is None or seat.place is not place:
            seat = self.arrive(place, number, message, now_ns, priority, ())
        self.begin(seat)
        seat.call = call
        if not seat.handle:
            self.stand(seat, now_ns)

    def settle(self, now_ns):
        """All that wants a slot stands in line: let the policy forget the jobs that have ended."""
        cdef Seat seat
        cdef Py_ssize_t i
        if not self._ended:
            return
        for i in range(<Py_ssize_t>len(self._ended) - 1, -1, -1):
            seat = self._ended[i]
            if not seat.is_told:
                self._on_done(seat, now_ns)
                del self.seats[seat.id]
        self._ended.clear()

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
            seat.place.seat = None
        self.fetch_next()
        return seat

    cdef void fetch_next(self) noexcept:
        """Bring who may be first in line soon into the cache: of ten thousand, few are there.

        Of who is first what the seat names, the seats of those who may be next.
        """
        cdef Heap* line = &self._queue.heaps[0]
        cdef Slot* slots = self._queue.table.slots
        cdef uint64_t place, seat
        # SAFETY: ranks below `end` are of slots that are held, whose items are seats (O4); a
        # prefetch may name any address.
        if line.end < FIRST_FIVE:
            return
        fetch_named(<Seat><void*>slots[rank_slot(line.rank[ROOT])].item)
        for place in range(<uint64_t>ROOT + 1, <uint64_t>FIRST_FIVE):
            seat = slots[rank_slot(line.rank[place])].item
            prefetch(<const void*>seat)
            prefetch(<const void*>(seat + LINE_BYTES))
            prefetch(<const void*>(seat + 2 * LINE_BYTES))

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
        """Bring what the policy knows in line with the agent's turns: begun, waiting, ended.

        Returns: how many of them run, each of which has a slot.
        """
        cdef Place place = self.place_of(record)
        cdef Py_ssize_t i = 0
        cdef Seat seat
        while i < len(place.begun):
            seat = place.begun[i]
            if seat.id in place.turns:
                i += 1
            else:
                del place.begun[i]
                self.end(seat, now_ns)
        if len(place.turns) > 1 and record.concurrency > 1:
            return self.follow_many(place, record.concurrency, now_ns)
        for number, turn in place.turns.items():
            return self.follow(place, number, turn, now_ns)
        return 0

    cdef Py_ssize_t follow_many(self, Place place, Py_ssize_t concurrency, now_ns) except -1:
        """Do so for several at once: those parked have begun, of the others the first run.

        One that had a slot may have none any more: an adopted turn is found to be parked late.
        """
        cdef Py_ssize_t may_run = min(concurrency, <Py_ssize_t>len(place.turns)), running = 0
        cdef Seat seat
        for turn in place.turns.values():
            may_run -= is_waiting(turn)
        for number, turn in place.turns.items():
            if running < may_run or is_waiting(turn):
                running += self.follow(place, number, turn, now_ns)
            else:
                seat = self.seats.get(number)
                if seat is not None and seat.place is place and seat.since_ns:
                    self.charge(seat, now_ns)
        return running

    cdef bint follow(self, Place place, number, Turn turn, now_ns) except -1:
        """Note whether a turn that may run has its slot; say so."""
        cdef Seat seat = self.seats.get(number)
        if seat is None or seat.place is not place:          # it never stood in line
            message = turn.message
            seat = self.arrive(place, number, message, now_ns, message.envelope.priority, ())
        self.begin(seat)
        if is_waiting(turn):
            if seat.since_ns:
                self.charge(seat, now_ns)
            return False
        if not seat.since_ns:
            seat.since_ns = now_ns
            self.unstand(seat)
            seat.call = 0
        return True

    cdef object begin(self, Seat seat):
        """A seat is that of an open turn from here on."""
        if not seat.has_begun:
            seat.has_begun = True
            seat.place.begun.append(seat)
            if seat.place.seat is seat:          # granted without having been taken from the line
                seat.place.seat = None

    cdef object charge(self, Seat seat, now_ns):
        """Tell the policy what a job was given since it took its slot, which it has no more."""
        cdef int64_t tokens = self.stretch(seat, now_ns)
        if self._on_service is not None:
            self._on_service(seat, tokens, now_ns)
        if self._is_by_owner:
            self.restand(seat.place, now_ns)

    cdef object restand(self, Place place, now_ns):
        """Let what waits of an agent wait under the keys of now."""
        cdef Seat seat = place.seat
        if seat is not None and seat.handle:
            self.stand(seat, now_ns)
        for seat in place.begun:
            if seat.handle:
                self.stand(seat, now_ns)

    cdef int64_t stretch(self, Seat seat, int64_t now_ns) except -1:
        """Return what a job was given since it took its slot, which it has no more."""
        cdef int64_t tokens = max(<int64_t>1, (now_ns - seat.since_ns) // self._token_ns)
        seat.since_ns = 0
        seat.served += tokens
        return tokens

    # ---- jobs ----

    cdef Seat arrive(self, Place place, number, message, now_ns, priority, parents):
        """Let the policy know of a new job; return its seat, which does not wait yet."""
        cdef Seat seat = Seat.__new__(Seat), former = self.seats.get(number)
        cdef Envelope envelope = message.envelope
        due_ns = message.due_ns
        seat.place, seat.id, seat.owner, seat.priority = place, number, place.owner, priority
        seat.program = envelope.trace or number
        seat.arrival_ns, seat.parents, seat.prompt_tokens = now_ns, parents, 0
        seat.predicted_tokens, seat.weight = 1.0, place.weight
        if due_ns:                               # one that is past is about to end by its timer
            seat.deadline_ns = due_ns if due_ns > now_ns else now_ns + 1
        if self._lengths is not None:
            seat.alike = self._lengths.mean_of(place.agent_class, handler_of(envelope))
            seat.predicted_tokens = self._lengths.guess(seat.alike)
        if former is not None:                   # it begins anew, or was another agent's of its pool
            if former.place is not None:
                self.end(former, now_ns)
            if not former.is_told:
                self._on_done(former, now_ns)
                former.is_told = True
        if self._on_arrival is not None:
            self._on_arrival(seat, now_ns)
        self.seats[number] = seat
        return seat

    cdef object end(self, Seat seat, now_ns):
        """Forget a job: its turn has ended, or it wants no slot any more."""
        cdef Place place = seat.place
        if seat.since_ns:
            if self._tells_last:
                self.charge(seat, now_ns)
            else:
                self.stretch(seat, now_ns)
        self.unstand(seat)
        if self._on_done is not None and not self._tells_at_once:
            self._ended.append(seat)
        else:
            if self._on_done is not None:
                self._on_done(seat, now_ns)
            seat.is_told = True
            del self.seats[seat.id]
        seat.place = None
        if self._lengths is not None and seat.served:
            self._lengths.learn(seat.alike, seat.served)
        if place.seat is seat:
            place.seat = None
        elif seat in place.begun:                # another agent of its pool has it now
            place.begun.remove(seat)

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
            if seat.place is None:
                assert not (seat.handle or seat.is_told) and seat in self._ended, "O4"
                continue
            assert not seat.handle or waiting.pop(seat.handle) == <uint64_t><void*>seat, "O4"
            is_first, is_open = seat.place.seat is seat, seat in seat.place.begun
            assert is_first != is_open == seat.has_begun, "O2"
            assert not is_first or (seat.handle and not seat.call), "O1"
        assert not waiting, "O4"
