"""Lent room, against a kernel that lends at random."""

from __future__ import annotations

import asyncio

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from actors.calls import CallTable
from actors.room import Room
from actors.virtual_loop import VirtualLoop
from ext.wire import Envelope
from ipc.clock import ManualClock
from ipc.errors import MailboxFullError
from ipc.plain import decode_plain, encode_plain
from ipc.protocol import Kind

RECEIVERS = st.sampled_from([7, 8])


class RoomMachine(RuleBasedStateMachine):
    """Never takes more than was lent; who waits is served in order, or refused."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop(ManualClock(), lambda timeout: self.loop.stop())
        self.sent: list[Envelope] = []
        calls = CallTable(self.loop, 5, self.sent.append, lambda identifier: None)  # type: ignore[arg-type, return-value]
        self.room = Room(5, calls, self.sent.append)
        self.lent = {7: [0, 0], 8: [0, 0]}
        self.taken = {7: [0, 0], 8: [0, 0]}
        self.open: list[Envelope] = []
        self.waiting: dict[int, list[int]] = {7: [], 8: []}
        self.order: dict[int, list[int]] = {7: [], 8: []}
        self.refused = 0
        self.count = 0

    def teardown(self) -> None:
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.run_forever()
        self.loop.close()

    async def take(self, receiver: int, size: int, number: int) -> None:
        try:
            await self.room.take(receiver, size, 1)
        except MailboxFullError:
            self.refused += 1
        else:
            self.taken[receiver][0] += 1
            self.taken[receiver][1] += size
            self.order[receiver].append(number)

    def run(self) -> None:
        self.loop.run_forever()
        for envelope in self.sent:
            if envelope.kind == Kind.RESERVE:
                self.open.append(envelope)
            elif envelope.kind == Kind.RETURN:
                messages, size = decode_plain(envelope.payload)
                self.lent[envelope.receiver][0] -= messages
                self.lent[envelope.receiver][1] -= size
        self.sent.clear()

    @rule(receiver=RECEIVERS, size=st.integers(1, 100))
    def tell(self, receiver: int, size: int) -> None:
        self.count += 1
        self.loop.create_task(self.take(receiver, size, self.count))
        self.run()

    @rule(extra=st.integers(0, 3))
    def lend(self, extra: int) -> None:
        if not self.open:
            return
        wish = self.open.pop(0)
        messages, size = decode_plain(wish.payload)
        self.lent[wish.receiver][0] += messages + extra
        self.lent[wish.receiver][1] += size + extra * 50
        body = encode_plain([messages + extra, size + extra * 50])
        self.room.credit(
            Envelope(
                Kind.CREDIT, receiver=wish.receiver, payload=body, correlation=wish.correlation
            )
        )
        self.run()

    @rule()
    def refuse(self) -> None:
        if self.open:
            wish = self.open.pop(0)
            full = MailboxFullError(receiver=7, depth=1, limit=1, used_bytes=1, limit_bytes=1)
            self.room.refuse(wish.correlation, full)
            self.run()

    @rule(receiver=RECEIVERS)
    def recall(self, receiver: int) -> None:
        self.room.recall(receiver)
        self.run()

    @rule(receiver=RECEIVERS)
    def roll_back(self, receiver: int) -> None:
        taken, self.taken[receiver] = self.taken[receiver], [0, 0]
        if taken[0]:
            self.room.give_back({receiver: taken}, self.room.epoch)
            self.run()

    @invariant()
    def never_more_than_lent(self) -> None:
        for receiver in (7, 8):
            assert self.taken[receiver][0] <= self.lent[receiver][0]
            assert self.taken[receiver][1] <= self.lent[receiver][1]

    @invariant()
    def served_in_order(self) -> None:
        for numbers in self.order.values():
            assert numbers == sorted(numbers)

    @rule()
    def nobody_is_forgotten(self) -> None:
        while self.open:
            self.lend(extra=0)
        served = sum(len(numbers) for numbers in self.order.values())
        assert served + self.refused == self.count


TestRoomMachine = RoomMachine.TestCase


def test_in_a_new_epoch_who_waits_asks_again() -> None:
    machine = RoomMachine()
    machine.tell(receiver=7, size=10)
    machine.tell(receiver=7, size=10)
    machine.open.clear()

    machine.room.reset()
    machine.run()

    assert [decode_plain(wish.payload) for wish in machine.open] == [[1, 10], [1, 10]]
    machine.nobody_is_forgotten()
    machine.teardown()
