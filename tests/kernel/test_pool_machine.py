"""A pool under random use: tells, asks, commits, crashes, kills, resizes, kernel crashes.

After each step: nothing lost, nothing twice, every message in exactly one place, the pool's own
accounts right, the journal as the state; messages of one affinity are done in the order sent.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from ext.wire import Envelope
from ipc.protocol import Kind
from kernel.actor_record import ActorRecord
from kernel.mailbox import Message
from tests.kernel.pools import TestedPool, boom, hinted, read_method
from tests.kernel.world import ScriptedAgent, World, body

KEYS = ("red", "blue")


class PoolMachine(RuleBasedStateMachine):
    """See the module head."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(
            max_attempts=1000, restart_intensity=1000, backoff_initial_s=0.01, backoff_max_s=0.01
        )
        self.pool = TestedPool(
            self.world, minimum=2, maximum=4, spec={"mailbox_messages": 8}, shrink_after_s=1
        )
        self.sent: list[str] = []
        self.asked: dict[int, str] = {}
        self.done: list[str] = []
        self.done_of_key: dict[str, list[str]] = {key: [] for key in KEYS}

    # --- what is done to it -------------------------------------------------------------

    @rule(key=st.sampled_from(("", *KEYS)), is_ask=st.booleans(), apart=st.booleans())
    def send(self, key: str, is_ask: bool, apart: bool) -> None:
        name = f"m{len(self.sent)}-{key}"
        hints = {"affinity": key} if key else {"apart": "x"} if apart else {}
        payload = hinted(name, **hints) if hints else body(name)
        correlation = self.world.client.next_correlation()
        kind = Kind.ASK if is_ask else Kind.TELL
        client = self.world.client
        client.send(Envelope(kind, client.id, self.pool.id, payload, correlation=correlation))
        self.sent.append(name)
        if is_ask:
            self.asked[correlation] = name

    @rule(choice=st.integers(0, 3), ahead=st.booleans())
    def commit(self, choice: int, ahead: bool) -> None:
        """A member ends its turn, and perhaps the next one too before it hears of anything."""
        member = self.member(choice)
        state = self.world.core.state
        turns = list(self.record(member).open)[: 2 if ahead else 1]
        names = [read_method(state.messages[turn].envelope) for turn in turns]
        for turn, name in zip(turns, names, strict=True):
            member.commit(turn, reply=name)
            if turn not in state.messages:
                self.note_done(name)
        record = state.actors.get(member.id)  # None: it was draining, and has gone
        if record is not None and record.is_refusing:  # it had overtaken one; all comes again
            member.send(Envelope(Kind.RESUME, member.id))

    @rule(choice=st.integers(0, 3))
    def fail(self, choice: int) -> None:
        """A member's handler of a tell raises: it is tried again after a moment."""
        member, state = self.member(choice), self.world.core.state
        turn = next(iter(self.record(member).open), 0)
        if turn and state.messages[turn].envelope.kind == Kind.TELL:
            member.fail(turn, boom())
            if self.record(member).is_refusing:
                member.send(Envelope(Kind.RESUME, member.id))

    @rule(choice=st.integers(0, 3))
    def crash(self, choice: int) -> None:
        self.member(choice).crash()
        self.world.advance(0.1)

    @rule(choice=st.integers(0, 3))
    def kill(self, choice: int) -> None:
        self.world.client.system("kill", actor=self.member(choice).id)

    @rule(minimum=st.integers(1, 3), more=st.integers(0, 2))
    def resize(self, minimum: int, more: int) -> None:
        limits = {"minimum": minimum, "maximum": minimum + more}
        self.world.client.system("pool_resize", pool="pool", **limits)

    @rule(seconds=st.sampled_from((0.3, 1.0, 5.0)))
    def wait(self, seconds: float) -> None:
        self.world.advance(seconds)

    @rule(are_open=st.booleans(), is_late=st.booleans())
    def kill_kernel(self, are_open: bool, is_late: bool) -> None:
        """The next kernel adopts the members; one of them says hello too late."""
        begun = {member.id: list(self.record(member).open)[:1] for member in self.pool.members}
        self.world.kill_kernel()
        self.world.client.connect()
        members = self.pool.members
        for member in members[1:] if is_late else members:
            member.open = begun.get(member.id, []) if are_open else []
            if member.incarnation == self.record(member).incarnation:
                member.connect()
        self.world.advance(5)

    # --- what must be so ----------------------------------------------------------------

    @invariant()
    def nothing_is_lost_and_nothing_done_twice(self) -> None:
        waiting = [read_method(message.envelope) for message in self.messages()]
        assert sorted([*waiting, *self.done]) == sorted(self.sent)
        assert self.world.client.system("dead_letters") == []

    @invariant()
    def every_message_is_in_exactly_one_place(self) -> None:
        state = self.world.core.state
        places: list[int] = []
        for record in state.actors.values():
            record.mailbox.check_integrity()
            places += [message.id for message in record.mailbox.queued()]
            places += [w.id for w in record.mailbox.waiting if isinstance(w, Message)]
            places += list(record.open)
        assert sorted(places) == sorted(state.messages)

    @invariant()
    def the_pool_knows_who_has_what(self) -> None:
        pool, record = self.pool.pool, self.world.core.state.actors[self.pool.id]
        routed = [message for message in self.messages() if message.pool]
        assert record.mailbox.used_messages == len(routed)
        with_members = {m.id: m.receiver for m in routed if m.receiver != pool.id}
        assert {number: job.member.id for number, job in pool.jobs.items()} == with_members
        for member in pool.members.values():
            assert member.replica.outstanding == list(with_members.values()).count(member.id)
            assert self.record_of(member.id).mailbox.used_messages == 0

    @invariant()
    def the_journal_says_the_same(self) -> None:
        rows = self.world.journal.load()
        routed = {message.id for message in self.messages() if message.pool}
        assert set(rows.get("routed", {})) == routed
        stored = {key: row[0].receiver for key, row in rows.get("message", {}).items()}
        for message in self.messages():
            assert stored[message.id] == message.receiver

    @invariant()
    def messages_of_one_affinity_are_done_in_order(self) -> None:
        for names in self.done_of_key.values():
            assert names == sorted(names, key=lambda name: int(name[1:].partition("-")[0]))

    @invariant()
    def members_are_never_more_than_the_maximum_but_for_those_that_leave(self) -> None:
        members = self.pool.pool.members.values()
        staying = [member for member in members if not member.is_draining]
        assert len(staying) <= self.pool.pool.settings.scaling.maximum

    def teardown(self) -> None:
        """Everything can be finished, and every asker has its own answer."""
        for _ in range(300):
            if not self.messages():
                break
            for choice in range(len(self.pool.members)):
                self.commit(choice, False)
            self.world.advance(0.1)
        assert sorted(self.done) == sorted(self.sent)
        for correlation, name in self.asked.items():
            assert self.world.client.answer(correlation) == name

    # --- parts ----------------------------------------------------------------------------

    def note_done(self, name: str) -> None:
        self.done.append(name)
        key = name.partition("-")[2]
        if key:
            self.done_of_key[key].append(name)

    def messages(self) -> list[Message]:
        return [m for m in self.world.core.state.messages.values() if m.sender != 0]

    def member(self, choice: int) -> ScriptedAgent:
        members = self.pool.members
        return members[choice % len(members)]

    def record(self, member: ScriptedAgent) -> ActorRecord:
        return self.record_of(member.id)

    def record_of(self, actor: int) -> ActorRecord:
        return self.world.core.state.actors[actor]


def test_whatever_is_killed_a_pool_loses_nothing_and_does_nothing_twice() -> None:
    run_state_machine_as_test(
        PoolMachine, settings=settings(max_examples=40, stateful_step_count=30, deadline=None)
    )
