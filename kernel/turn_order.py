"""Who gets the next slot, by a scheduling policy: agents that want a turn, and turns that go on.

A **job** is a turn: the next message of an agent that may run it but for the slot, until the turn
has ended. It arrives when it comes to stand in line, so that waiting for one's own agent is not
waiting for a slot. An agent stands in line with the first message of its mailbox, whose order is
not the policy's. Its owner is the agent; its weight is the agent's; its program is that of the
message (kernel/program.py). Its **service** is the time it holds a slot, in tokens of TOKEN_NS, at
least one a stretch. Its quantum is the turn, or what is left of it when its wait is over: a turn is
never interrupted, and each slot that comes free is decided on anew.

What it is not: how many slots there are (kernel/slots.py), what may be granted
(kernel/delivery.py).

Invariants (``check_integrity``):
  O1  an agent stands in line at most once to be granted a message; a turn that goes on likewise.
  O2  the policy knows a job from its arrival in line until its turn has ended, or it left the line;
      of one that ends it is told after the agent's next has arrived (``settle``): who has more
      mail was not idle in between. By path it is told at once: the next may have come of it.
  O3  who waits is in the queue under the key the policy gives now, once ``rekey`` was asked.

Cost: O(log waiting) a decision in Cython, beside what the policy's own calls cost
(bench/turn_policies.py). Owner: the core's loop.
"""

from __future__ import annotations

from itertools import islice

from ext.ready_queue import FloatReadyQueue
from kernel.actor_record import ActorRecord
from kernel.mailbox import Message
from kernel.policy.policy import Job
from kernel.policy.turn_lengths import Alike, TurnLengths
from kernel.policy.turn_policies import TOKEN_NS, new_turn_policy
from kernel.program import program_name

BY_LENGTH = frozenset({"sjf", "srpt"})
BY_PATH = frozenset({"critical_path"})
Seats = dict[int, "Seat"]  # by message


class Seat:
    """A job, and where it stands.

    handle: of its place in the queue; 0: it does not wait for a slot.
    call: the finished call whose answer it waits to be given; 0: it waits to be granted.
    since_ns: when it took its slot; 0: it has none.
    """

    __slots__ = ("alike", "call", "handle", "job", "record", "served", "since_ns")

    def __init__(self, record: ActorRecord, job: Job, alike: Alike | None) -> None:
        self.record = record
        self.job = job
        self.alike = alike
        self.call = 0
        self.handle = 0
        self.served = 0
        self.since_ns = 0


class TurnOrder:
    """See the module head."""

    def __init__(self, name: str) -> None:
        """Raises: UnknownPolicyError: lists the policies there are."""
        self.name = name
        self.policy = new_turn_policy(name)
        self.lengths = TurnLengths() if name in BY_LENGTH else None
        self.is_by_path = name in BY_PATH
        self._queue = FloatReadyQueue()  # of message ids
        self._seats: Seats = {}
        self._ended: dict[int, Job] = {}  # their policy is about to be told

    def __len__(self) -> int:
        """Return how many wait for a slot."""
        return len(self._queue)

    # --- the line -------------------------------------------------------------------------

    def line_up(
        self,
        record: ActorRecord,
        message: Message,
        now_ns: int,
        *,
        priority: int,
        parents: tuple[int, ...] = (),
    ) -> None:
        """Let an agent stand in line with this message, in place of the one it stood with.

        priority: of the message, or a more urgent one it has inherited.
        """
        seat: Seat | None = record.seat
        if seat is not None:
            if seat.job.id == message.id:
                if seat.job.priority != priority:
                    self._set_priority(seat, priority, now_ns)
                return
            self._end(seat, now_ns)
        seat = self._arrive(record, message, now_ns, priority, parents)
        record.seat = seat
        seat.handle = self._queue.push(self.policy.key(seat.job, now_ns), message.id)

    def leave(self, record: ActorRecord, now_ns: int) -> None:
        """An agent wants no turn any more, or may not have one."""
        if record.seat is not None:
            self._end(record.seat, now_ns)

    def line_up_answer(
        self, record: ActorRecord, message: Message, call: int, now_ns: int, *, priority: int
    ) -> None:
        """Let a parked turn stand in line to be given the answer of a call."""
        seat = self._seats.get(message.id)
        if seat is None or seat.record is not record:
            seat = record.seats[message.id] = self._arrive(record, message, now_ns, priority, ())
        seat.call = call
        if not seat.handle:
            seat.handle = self._queue.push(self.policy.key(seat.job, now_ns), message.id)

    def settle(self, now_ns: int) -> None:
        """All that wants a slot stands in line: let the policy forget the jobs that have ended."""
        while self._ended:
            _, job = self._ended.popitem()
            self.policy.on_done(job, now_ns)

    def take(self, now_ns: int) -> Seat | None:
        """Return who gets a slot that is free; it stands in line no more."""
        for number in self.policy.rekey(now_ns):
            changed = self._seats.get(number)
            if changed is not None and changed.handle:
                self._queue.update(changed.handle, self.policy.key(changed.job, now_ns))
        if not self._queue:
            return None
        seat = self._seats[self._queue.pop()]
        seat.handle = 0
        if not seat.call:
            seat.record.seat = None
        return seat

    def drop(self, seat: Seat, now_ns: int) -> None:
        """Who was taken cannot have the slot: forget the job, or let the turn stay parked."""
        if not seat.call:
            self._end(seat, now_ns)

    def raise_priority(self, message: int, priority: int, now_ns: int) -> None:
        """A job has inherited a more urgent priority."""
        seat = self._seats.get(message)
        if seat is not None and priority < seat.job.priority:
            self._set_priority(seat, priority, now_ns)

    def _set_priority(self, seat: Seat, priority: int, now_ns: int) -> None:
        seat.job.priority = priority
        if seat.handle:
            self._queue.update(seat.handle, self.policy.key(seat.job, now_ns))

    # --- service --------------------------------------------------------------------------

    def account(self, record: ActorRecord, now_ns: int) -> None:
        """Bring what the policy knows in line with the agent's turns: begun, waiting, ended."""
        turns, seats = record.open, record.seats
        for number in tuple(seats):
            if number not in turns:
                self._end(seats[number], now_ns)
        for number, turn in islice(turns.items(), record.concurrency):
            seat = seats.get(number)
            if seat is None:
                seat = seats[number] = self._begun(record, turn.message, now_ns)
            if turn.outstanding or turn.is_parked:
                if seat.since_ns:
                    self._charge(seat, now_ns)
            elif not seat.since_ns:
                seat.since_ns = now_ns
                if seat.handle:
                    self._queue.remove(seat.handle)
                    seat.handle = 0
                seat.call = 0

    def _begun(self, record: ActorRecord, message: Message, now_ns: int) -> Seat:
        """Return the seat of a turn that was granted; one that never stood in line arrives here."""
        seat = self._seats.get(message.id)
        if seat is None or seat.record is not record:
            return self._arrive(record, message, now_ns, message.envelope.priority, ())
        if seat.handle:  # granted without having been taken from the line
            record.seat = None
        return seat

    def _charge(self, seat: Seat, now_ns: int) -> None:
        """Tell the policy what a job was given since it took its slot, which it has no more."""
        tokens = max(1, (now_ns - seat.since_ns) // TOKEN_NS)
        seat.since_ns = 0
        seat.served += tokens
        self.policy.on_service(seat.job, tokens, now_ns)

    # --- jobs -----------------------------------------------------------------------------

    def _arrive(
        self,
        record: ActorRecord,
        message: Message,
        now_ns: int,
        priority: int,
        parents: tuple[int, ...],
    ) -> Seat:
        number, due_ns = message.id, message.due_ns
        alike, guess = None, 1.0
        if self.lengths is not None:
            alike = alike_of(record, message)
            guess = self.lengths.guess(alike)
        if due_ns and due_ns <= now_ns:  # the kernel's timer is about to end it
            due_ns = now_ns + 1
        program = program_name(message.envelope.trace, number)
        weight = record.spec.get("weight", 1.0)
        job = Job(
            number,
            program,
            str(record.id),
            priority,
            now_ns,
            due_ns or None,
            guess,
            0,
            weight,
            parents,
        )
        if number in self._seats:  # it was another agent's of its pool
            self._end(self._seats[number], now_ns)
        if number in self._ended:  # it begins anew
            self.policy.on_done(self._ended.pop(number), now_ns)
        self.policy.on_arrival(job, now_ns)
        seat = self._seats[number] = Seat(record, job, alike)
        return seat

    def _end(self, seat: Seat, now_ns: int) -> None:
        """Forget a job: its turn has ended, or it wants no slot any more."""
        job = seat.job
        if seat.since_ns:
            self._charge(seat, now_ns)
        if seat.handle:
            self._queue.remove(seat.handle)
            seat.handle = 0
        if self.is_by_path:
            self.policy.on_done(job, now_ns)  # what it has told others comes after it
        else:
            self._ended[job.id] = job
        if seat.alike is not None and seat.served and self.lengths is not None:
            self.lengths.learn(seat.alike, seat.served)
        del self._seats[job.id]
        record = seat.record
        if record.seat is seat:
            record.seat = None
        else:
            record.seats.pop(job.id, None)

    def standing(self) -> tuple[list[int], list[int]]:
        """Return the calls and the actors that wait, each in the order of the line."""
        line = [self._seats[entry.item] for entry in self._queue]
        calls = [seat.call for seat in line if seat.call]
        return calls, [seat.record.id for seat in line if not seat.call]

    def check_integrity(self) -> None:
        """Verify the invariants; for tests. Raises AssertionError."""
        self._queue.check_integrity()
        for number, seat in self._seats.items():
            is_first, is_open = seat.record.seat is seat, seat.record.seats.get(number) is seat
            assert seat.job.id == number, "O2"
            assert is_first != is_open, "O2"
            assert not is_first or (seat.handle and not seat.call), "O1"
        waiting = {number for number, seat in self._seats.items() if seat.handle}
        assert waiting == {entry.item for entry in self._queue}, "O1"


def alike_of(record: ActorRecord, message: Message) -> Alike:
    """Return which turns this one is like: those of its class and handler."""
    return record.spec.get("target") or record.spec.get("qualname", ""), method_of(message)


def method_of(message: Message) -> str:
    """Return the handler a message names; "" if its body does not say."""
    payload = message.envelope.payload
    start = 0
    if message.envelope.flags & 1 and len(payload) >= 2:  # HAS_REFS: the table comes first
        start = 2 + 8 * int.from_bytes(payload[:2], "little")
    head = payload[start : start + 258]
    if len(head) < 2 or head[0] not in (0x93, 0x94):  # [method, args, kwargs], hints for a pool
        return ""
    if 0xA0 <= head[1] <= 0xBF:
        name = head[2 : 2 + (head[1] & 0x1F)]
    elif head[1] == 0xD9 and len(head) > 2:
        name = head[3 : 3 + head[2]]
    else:
        return ""
    return name.decode(errors="replace")
