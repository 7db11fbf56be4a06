"""What must hold inside the core after each loop turn (D1-D3 of kernel/delivery.py and more).

Conditions are written out with ``if``: this runs after each loop turn, and texts cost time.
"""

from __future__ import annotations

import itertools

from ipc.protocol import Kind
from kernel.actor_record import ActorRecord, Status, Turn
from kernel.core import Core
from kernel.mailbox import Message, Reservation
from kernel.pools.pool import Pool
from kernel.resources.shares import is_weighted
from kernel.state import KernelState
from kernel.timers import Due
from tests.simulator.violation import Violation


def check(core: Core) -> None:
    """Verify all invariants of a core between loop turns."""
    state = core.state
    places: dict[int, str] = {}
    for record in state.actors.values():
        _check_mailbox(state, record, places)
        _check_turns(state, record, places)
        _check_process(record)
    _check_room(state)
    _check_budgets(state, places)
    _check_messages(state, places)
    _check_calls(core)
    used = sum(record.slots for record in state.actors.values())
    if state.slots.used != used:
        raise Violation("D3 slots", f"{state.slots.used} used, actors hold {used}")
    _check_order(state)
    _check_reservations(state)
    if not state.urgency.inherited.keys() <= state.messages.keys():
        raise Violation("urgency is of messages there are", str(state.urgency.inherited))
    for timer in state.durable_timers.values():
        if state.timers.due_at(Due.TIMER, timer.id) is None or timer.actor not in state.actors:
            raise Violation("timers are set", str(timer))


def _check_reservations(state: KernelState) -> None:
    """What is reserved is what the specs of the actors there are say, of any epoch."""
    wanted = {
        record.id: record.spec["reserve"]
        for record in state.actors.values()
        if record.spec.get("reserve") and record.pool is None
    }
    if state.inventory.all_held() != wanted:
        raise Violation("reservations", f"{state.inventory.all_held()}, not {wanted}")
    weighted = [
        record.id
        for record in state.actors.values()
        if is_weighted(record.spec) and record.pool is None
    ]
    if sorted(state.weighted) != weighted:
        raise Violation("weighted agents", f"{list(state.weighted)}, not {weighted}")


def _check_order(state: KernelState) -> None:
    """What the policy of turns knows is what stands in line, or is open and has begun."""
    order = state.slots.order
    if order is None:
        return
    try:
        order.check_integrity()
    except AssertionError as problem:
        raise Violation("the order of turns", str(problem)) from None
    for record in state.actors.values():
        parked, expected = _at_work(record)
        known = {seat.id: seat for seat in record.place.begun} if record.place else {}
        if not parked | expected <= known.keys() <= record.open.keys():
            text = f"{record.name}: {list(known)}, not {parked} and {expected}"
            raise Violation("the order of turns", text)
        running = {number for number, seat in known.items() if seat.since_ns}
        if running != expected:
            raise Violation("the order of turns", f"{record.name}: {running} have slots")


def _check_mailbox(state: KernelState, record: ActorRecord, places: dict[int, str]) -> None:
    box = record.mailbox
    try:
        box.check_integrity()
    except AssertionError as problem:
        raise Violation("mailbox integrity", f"{record.name}: {problem}") from None
    queued = box.queued()
    for message in queued:
        _place(places, message, record, "queue")
    counted = queued + [turn.message for turn in record.open.values() if not turn.is_cancelled]
    sizes = [m.size for m in counted if not m.reserved and not m.pool]
    if record.pool is not None:
        sizes = [m.size for m in state.messages.values() if m.pool == record.id]
        _check_pool(state, record, record.pool)
    if (box.used_messages, box.used_bytes) != (len(sizes), sum(sizes)):
        raise Violation("mailbox accounting", f"{record.name}: {box.used_messages}, not {sizes}")
    for waiter in box.waiting:
        if isinstance(waiter, Reservation):
            _check_reservation(state, record, waiter)
        elif waiter.held and not waiter.is_unpaid:
            _place(places, waiter, record, "line")
        else:
            raise Violation("D1", f"{waiter.id} waits but is not held")
    for sender, priority in box._blocked:
        if state.timers.due_at(Due.BACKOFF, (record.id, sender, priority)) is None:
            raise Violation("a lane held back has a timer", f"{record.name} {sender} {priority}")


def _check_pool(state: KernelState, record: ActorRecord, pool: Pool) -> None:
    """P1 and P2 of kernel/pools/pool.py."""
    routed = {m.id: m.receiver for m in state.messages.values() if m.pool == record.id}
    with_members = {number: actor for number, actor in routed.items() if actor != record.id}
    if {number: job.member.id for number, job in pool.jobs.items()} != with_members:
        raise Violation("P1", f"{record.name}: {list(pool.jobs)}, not {with_members}")
    for member in pool.members.values():
        outstanding = list(with_members.values()).count(member.id)
        if member.replica.outstanding != outstanding:
            raise Violation("P2", f"{member.id}: {member.replica.outstanding}, not {outstanding}")
        if state.actors[member.id].parent != record.id:
            raise Violation("members are children", f"{member.id} of {record.name}")


def _check_reservation(state: KernelState, record: ActorRecord, waiter: Reservation) -> None:
    borrower = state.actors.get(waiter.sender)
    turn = borrower.open.get(waiter.turn) if borrower is not None else None
    if turn is None or record.id not in turn.reservations:
        text = f"{waiter} waits at {record.name} for a turn that does not"
        raise Violation("D3 reservations", text)


def _check_turns(state: KernelState, record: ActorRecord, places: dict[int, str]) -> None:
    for identifier, turn in record.open.items():
        if turn.is_cancelled:
            if turn.outstanding or turn.reservations:
                raise Violation("D3", f"cancelled turn {identifier} waits")
            continue
        _place(places, turn.message, record, "turns")
        _check_waits(state, turn)
    expected = _slots_of(record)
    if record.slots != expected:
        raise Violation("D3 slots", f"{record.name}: {record.slots}, not {expected}")
    for identifier in record.solo:
        if identifier not in state.messages:
            raise Violation("solo messages exist", f"{record.name} {identifier}")


def _check_waits(state: KernelState, turn: Turn) -> None:
    for call in turn.outstanding:
        if state.calls.get(call) is None:
            raise Violation("D3 calls", f"turn {turn.message.id} waits for forgotten {call}")
    for target in turn.reservations:
        receiver = state.actors.get(target)
        waiting = receiver.mailbox.waiting if receiver is not None else ()
        if not any(isinstance(w, Reservation) and w.turn == turn.message.id for w in waiting):
            text = f"turn {turn.message.id} waits for room at {target}"
            raise Violation("D3 reservations", text)


def _slots_of(record: ActorRecord) -> int:
    return len(_at_work(record)[1])


def _at_work(record: ActorRecord) -> tuple[set[int], set[int]]:
    """Return the turns that have begun and are parked, and those that hold slots.

    Of an adopted agent's turns the first may be such as have ended, whose commits come again.
    """
    turns = record.open
    if record.concurrency == 1:
        turns = dict(itertools.islice(turns.items(), 1))
    parked = {number for number, turn in turns.items() if turn.is_parked}
    may_run = max(0, min(record.concurrency, len(turns)) - len(parked))
    others = (number for number in turns if number not in parked)
    return parked, set(itertools.islice(others, may_run))


def _check_process(record: ActorRecord) -> None:
    if record.status in (Status.BACKOFF, Status.STOPPED) and (
        record.channel or record.route or record.open or record.lent
    ):
        raise Violation("L2", f"{record.name} is {record.status.value} and has what processes have")


def _check_room(state: KernelState) -> None:
    lent: dict[int, list[int]] = {}
    for record in state.actors.values():
        for target, (messages, size) in record.lent.items():
            total = lent.setdefault(target, [0, 0])
            total[0] += messages
            total[1] += size
    for record in state.actors.values():
        box = record.mailbox
        if [box.lent_messages, box.lent_bytes] != lent.get(record.id, [0, 0]):
            raise Violation("credit accounting", f"{record.name}: {lent.get(record.id)} is held")


def _check_budgets(state: KernelState, places: dict[int, str]) -> None:
    """B1-B3 of kernel/budget/postage.py, and the accounts' own invariants."""
    budgets = state.budgets
    try:
        budgets.tree.check_integrity()
    except AssertionError as problem:
        raise Violation("budgets hold at every level", str(problem)) from None
    for sender, line in budgets.unpaid.items():
        for message in line:
            record = state.actors.get(message.receiver)
            if record is None or not message.is_unpaid or message.sender != sender:
                raise Violation("B1", f"{message.id} is in the unpaid line of {sender}")
            _place(places, message, record, "unpaid")
        if sender not in budgets.unpaid_waiters or "messages" not in state.actors[sender].suspended:
            raise Violation("B2", f"{sender} has unpaid messages and does not wait")
    reserved: dict[int, int] = {}
    for record in state.actors.values():
        if record.account is None and record.paid:
            raise Violation("B3", f"{record.name} has no account, and {record.paid} reserved")
        for account in record.account.path() if record.account is not None else ():
            total = sum(paid[0] for paid in record.paid.values())
            reserved[account.id] = reserved.get(account.id, 0) + total
    for account in budgets.tree.accounts.values():
        if account.reserved["messages"] != reserved.get(account.id, 0):
            text = f"{account.name}: {account.reserved['messages']}, not {reserved}"
            raise Violation("B3", text)


def _place(places: dict[int, str], message: Message, record: ActorRecord, kind: str) -> None:
    if message.id in places or message.receiver != record.id:
        place = places.get(message.id, "nowhere")
        raise Violation("D1", f"message {message.id} in the {kind} of {record.name} is in {place}")
    places[message.id] = kind


def _check_messages(state: KernelState, places: dict[int, str]) -> None:
    if len(places) != len(state.messages):
        raise Violation("D1", f"{sorted(places.keys() ^ state.messages.keys())} are out of place")
    for identifier, message in state.messages.items():
        if identifier not in places:
            raise Violation("D1", f"message {identifier} is in no queue, line or turn")
        is_ask = message.envelope.kind == Kind.ASK
        if message.due_ns and state.timers.due_at(Due.DEADLINE, identifier) is None:
            record = state.actors[message.receiver]
            if is_ask or identifier not in record.open:  # a tell in a turn is left in peace
                raise Violation("deadlines", f"message {identifier} has none any more")
        call = state.calls.get(identifier)
        if is_ask != (call is not None and not call.is_finished):
            raise Violation("D2", f"message {identifier} is an ask: {is_ask}, its call: {call}")


def _check_calls(core: Core) -> None:
    state = core.state
    for call in state.calls._by_id.values():
        if call.turn:
            if call.turn not in state.messages:
                raise Violation("calls end with their turn", f"{call.id} of turn {call.turn}")
        elif call.owner not in state.peers.sessions and call.id not in state.keys_of_calls:
            raise Violation("calls have an owner", f"call {call.id} of {call.owner:x}")
        if not call.is_finished and call.receiver and call.id not in state.messages:
            raise Violation("D2", f"pending call {call.id} has no message")
