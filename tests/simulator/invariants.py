"""What must hold inside the core after each loop turn (D1-D3 of kernel/delivery.py and more)."""

from __future__ import annotations

from ipc.protocol import Kind
from kernel.actor_record import ActorRecord, Status
from kernel.core import Core
from kernel.mailbox import Message, Reservation
from kernel.state import KernelState
from kernel.timers import Due
from tests.simulator.violation import Violation, demand


def check(core: Core) -> None:
    """Verify all invariants of a core between loop turns."""
    state = core.state
    places: dict[int, str] = {}
    for record in state.actors.values():
        _check_mailbox(state, record, places)
        _check_turns(state, record, places)
        _check_process(record)
    _check_messages(state, places)
    _check_calls(core)
    used = sum(record.slots for record in state.actors.values())
    demand(state.slots.used == used, "D3 slots", f"{state.slots.used} used, actors hold {used}")
    for timer in state.durable_timers:
        demand(state.timers.due_at(Due.TIMER, timer) is not None, "timers are set", str(timer))
        demand(
            state.durable_timers[timer].actor in state.actors, "timers have an actor", str(timer)
        )


def _check_mailbox(state: KernelState, record: ActorRecord, places: dict[int, str]) -> None:
    box = record.mailbox
    try:
        box.check_integrity()
    except AssertionError as problem:
        raise Violation("mailbox integrity", f"{record.name}: {problem}") from None
    counted = [turn.message for turn in record.open.values() if not turn.is_cancelled]
    queued = box.queued()
    for message in queued:
        _place(places, message, f"queue of {record.name}")
        demand(message.receiver == record.id, "D1", f"{message.id} in the queue of {record.name}")
    counted += queued
    messages = [message for message in counted if not message.reserved]
    demand(box.used_messages == len(messages), "mailbox accounting",
           f"{record.name}: {box.used_messages} counted, {len(messages)} there")  # fmt: skip
    size = sum(message.size for message in messages)
    demand(box.used_bytes == size, "mailbox accounting", f"{record.name}: {box.used_bytes} {size}")
    lent = [other.lent[record.id] for other in state.actors.values() if record.id in other.lent]
    demand(box.lent_messages == sum(pair[0] for pair in lent), "credit accounting",
           f"{record.name}: {box.lent_messages} lent, borrowers hold {lent}")  # fmt: skip
    demand(box.lent_bytes == sum(pair[1] for pair in lent), "credit accounting", record.name)
    for waiter in box.waiting:
        if isinstance(waiter, Message):
            demand(waiter.held, "D1", f"{waiter.id} waits but is not held")
            _place(places, waiter, f"line of {record.name}")
        else:
            _check_reservation(state, record, waiter)
    for sender, priority in box._blocked:
        due = state.timers.due_at(Due.BACKOFF, (record.id, sender, priority))
        demand(
            due is not None, "a lane held back has a timer", f"{record.name} {sender} {priority}"
        )


def _check_reservation(state: KernelState, record: ActorRecord, waiter: Reservation) -> None:
    borrower = state.actors.get(waiter.sender)
    turn = borrower.open.get(waiter.turn) if borrower is not None else None
    demand(turn is not None and record.id in turn.reservations, "D3 reservations",
           f"{waiter} waits at {record.name} for a turn that does not")  # fmt: skip


def _check_turns(state: KernelState, record: ActorRecord, places: dict[int, str]) -> None:
    for identifier, turn in record.open.items():
        demand(identifier == turn.message.id, "D1", f"{identifier} holds {turn.message.id}")
        if turn.is_cancelled:
            demand(not turn.outstanding, "D3", f"cancelled turn {identifier} waits")
            continue
        _place(places, turn.message, f"turns of {record.name}")
        for call in turn.outstanding:
            found = state.calls.get(call)
            demand(found is not None, "D3 calls", f"turn {identifier} waits for forgotten {call}")
        for target in turn.reservations:
            receiver = state.actors.get(target)
            waits = receiver is not None and any(
                isinstance(w, Reservation) and w.turn == identifier
                for w in receiver.mailbox.waiting
            )
            demand(waits, "D3 reservations", f"turn {identifier} waits for room at {target}")
    running = list(record.open.values())
    if not running:
        expected = 0
    elif record.concurrency == 1:
        expected = 0 if running[0].is_parked else 1
    else:
        parked = sum(turn.is_parked for turn in running)
        expected = max(0, min(record.concurrency, len(running)) - parked)
    demand(record.slots == expected, "D3 slots", f"{record.name}: {record.slots}, not {expected}")
    for identifier in record.solo:
        demand(identifier in state.messages, "solo messages exist", f"{record.name} {identifier}")


def _check_process(record: ActorRecord) -> None:
    if record.status in (Status.BACKOFF, Status.STOPPED):
        demand(record.channel is None and record.route is None, "L2", f"{record.name} has a link")
        demand(not record.open and not record.lent, "L2", f"{record.name} has turns or credit")


def _place(places: dict[int, str], message: Message, place: str) -> None:
    if message.id in places:
        raise Violation("D1", f"message {message.id} is in {places[message.id]} and in {place}")
    places[message.id] = place


def _check_messages(state: KernelState, places: dict[int, str]) -> None:
    for identifier, message in state.messages.items():
        if identifier not in places:
            raise Violation("D1", f"message {identifier} is in no queue, line or turn")
        if message.due_ns:
            is_armed = state.timers.due_at(Due.DEADLINE, identifier) is not None
            demand(is_armed or identifier in _open(state, message),
                   "deadlines", f"message {identifier} is without a timer in {places[identifier]}")  # fmt: skip
        is_ask = message.envelope.kind == Kind.ASK
        call = state.calls.get(identifier)
        pending = call is not None and not call.is_finished
        demand(is_ask == pending, "D2", f"message {identifier}: ask {is_ask}, pending {pending}")
    for identifier, place in places.items():
        demand(identifier in state.messages, "D1", f"{identifier} in {place} has ended")


def _open(state: KernelState, message: Message) -> dict[int, object]:
    record = state.actors.get(message.receiver)
    return dict(record.open) if record is not None and message.envelope.kind == Kind.TELL else {}


def _check_calls(core: Core) -> None:
    state = core.state
    for call in state.calls._by_id.values():
        if call.turn:
            demand(call.turn in state.messages, "calls end with their turn",
                   f"call {call.id} of turn {call.turn}, which has ended")  # fmt: skip
        else:
            is_owned = call.owner in state.peers.sessions or core.delivery.is_followed(call)
            demand(is_owned, "calls have an owner",
                   f"call {call.id} of {call.owner:x}")  # fmt: skip
        if not call.is_finished and call.receiver:
            demand(call.id in state.messages, "D2", f"pending call {call.id} has no message")
