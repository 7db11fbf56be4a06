"""What the simulator has found in the core, each bug by its symptom. None may come back.

Long because it has one test for each.
"""

from __future__ import annotations

import random
from typing import Any

import pytest

from ext.wire import Envelope
from ipc.errors import BY_CODE, RemoteError
from ipc.ids import new_session_id
from ipc.plain import decode_plain, encode_plain
from ipc.protocol import Flag, Kind
from kernel.output import KillProcess, Output, WatchProcess
from kernel.room import PREFETCHED_CREDIT
from tests.kernel.world import SECOND, ScriptedAgent, ScriptedClient, World, body


def boom() -> RemoteError:
    return RemoteError(type_name="ValueError", actor="B", handler="x", message="no", traceback="")


def error_name(wire: Any) -> str:
    return BY_CODE[wire["code"]].__name__


def reconnect(agent: ScriptedAgent, route: bytes | None = None, **facts: Any) -> None:
    """Say hello on a new connection, with more facts than usual."""
    agent.world.routes.pop(agent.route, None)
    agent.route = route or agent.world.new_route()
    agent.world.routes[agent.route] = agent
    agent.world.turn(agent.route, [hello_of(agent, **facts)])


def hello_of(agent: ScriptedAgent, **facts: Any) -> Envelope:
    known = {"role": "agent", "incarnation": agent.incarnation, "token": agent.token}
    payload = agent.hello_body(**{**known, "open": agent.open, "declares": agent.declares, **facts})
    return Envelope(Kind.HELLO, agent.id, 0, payload)


def reserve(agent: ScriptedAgent, turn: int, receiver: int, size: int = 200) -> int:
    correlation = agent.next_correlation()
    wish = encode_plain([1, size])
    agent.send(Envelope(Kind.RESERVE, agent.id, receiver, wish, turn=turn, correlation=correlation))
    return correlation


def refused_turns(agent: ScriptedAgent) -> list[int]:
    return [e.turn for e in agent.got if e.kind == Kind.REFUSED and e.turn]


def tells_to_a_full_mailbox(world: World, count: int) -> list[Envelope]:
    """Return numbered tells that will be refused."""
    worker = world.spawn("worker")
    world.client.tell(worker.id, "first")
    numbers = [world.client.next_correlation() for _ in range(count)]
    tells = [
        Envelope(Kind.TELL, world.client.id, worker.id, body("x"), correlation=n, flags=Flag.NOWAIT)
        for n in numbers
    ]
    return [world.client.channel.number(tell) for tell in tells]


def outputs_to(world: World, route: bytes) -> list[Envelope]:
    """Return a list that fills with what the kernel sends on a connection."""
    said: list[Envelope] = []
    emit = world.emit

    def listen(output: Output) -> None:
        said.extend(e.copy() for where, batch in output.frames if where == route for e in batch)
        emit(output)

    world.emit = listen  # type: ignore[method-assign]
    return said


# --- marks: what a kernel may say that it has ------------------------------------------------


def test_a_commit_cut_in_two_by_the_kernels_death_is_not_lost() -> None:
    world = World()
    worker = world.spawn("worker")
    world.client.tell(worker.id, "work")
    turn = worker.turn_of("work")
    commit = Envelope(Kind.COMMIT, worker.id, turn=turn, index=1)
    effect = worker.state(x=b"1")
    first, second = worker.channel.number(commit), worker.channel.number(effect)
    world.turn(worker.route, [first])

    world.kill_kernel()
    reconnect(worker, open=[turn], commits=[[turn, first.sequence]])

    assert second.sequence == 2
    assert world.core.state.actors[worker.id].state == {"x": b"1"}
    assert world.pending() == 0


def test_a_refused_commit_is_refused_again_by_the_next_kernel() -> None:
    world = World()
    worker = world.spawn("worker")
    asked = world.client.ask(worker.id, "work")
    turn = worker.turn_of("work")
    cancel = Envelope(Kind.CANCEL, world.client.id, correlation=asked)
    world.client.send(cancel)
    world.routes.pop(worker.route)  # the refusal does not arrive
    worker.commit(turn, worker.state(x=b"1"))

    world.kill_kernel()
    reconnect(worker, open=[turn], commits=[[turn, 1]])

    assert refused_turns(worker) == [turn]
    assert world.core.state.actors[worker.id].state == {}


def test_a_failed_turn_is_not_taken_for_an_open_one_by_the_next_kernel() -> None:
    world = World()
    worker = world.spawn("worker")
    world.client.tell(worker.id, "work")
    turn = worker.turn_of("work")
    worker.fail(turn, boom())

    world.kill_kernel()
    reconnect(worker, open=[turn], commits=[[turn, 1]])
    world.advance(1)

    assert worker.methods() == ["work", "work"]


def test_an_acknowledgement_does_not_outrun_the_refusal_behind_it() -> None:
    world = World(mailbox_messages=1)
    sent = tells_to_a_full_mailbox(world, 2)
    world.now_ns += 1000
    world.core.begin(world.now_ns, world.now_ns)
    world.core.receive(world.client.route, sent)

    (batch,) = [batch for _, batch in world.core.finish().frames]

    assert [e.kind for e in batch] == [Kind.REFUSED, Kind.REFUSED]
    assert batch[0].acknowledged < sent[0].sequence <= batch[1].acknowledged


def test_a_lone_acknowledgement_names_the_envelope_it_was_sent_behind() -> None:
    world = World(mailbox_messages=1)
    sent = tells_to_a_full_mailbox(world, 1)
    said = outputs_to(world, world.client.route)
    world.routes.pop(world.client.route)  # the refusal is lost in the midst of a connection
    world.turn(world.client.route, sent)

    world.turn(world.client.route, sent)  # sent again, for want of an answer

    refusal, acknowledgement = said
    assert (refusal.kind, acknowledgement.kind) == (Kind.REFUSED, Kind.ACK)
    assert acknowledgement.acknowledged == sent[0].sequence
    assert acknowledgement.message == refusal.sequence


@pytest.mark.parametrize("is_killed", [False, True])
def test_a_welcome_tells_no_mark_beyond_a_refusal_that_was_lost(is_killed: bool) -> None:
    world = World(mailbox_messages=1)
    sent = tells_to_a_full_mailbox(world, 2)
    world.routes.pop(world.client.route)  # both refusals are lost
    world.turn(world.client.route, sent)
    if is_killed:
        world.kill_kernel()

    route = world.client.route = world.new_route()
    said = outputs_to(world, route)
    world.turn(route, [world.client.hello()])

    welcome, first, second = said
    assert [first.kind, second.kind] == [Kind.REFUSED, Kind.REFUSED]
    assert decode_plain(welcome.payload)["taken"] == sent[0].sequence - 1
    assert first.acknowledged < sent[1].sequence
    assert welcome.acknowledged < sent[0].sequence


# --- hellos ----------------------------------------------------------------------------------


def test_a_second_hello_on_a_connection_does_not_begin_the_numbers_anew() -> None:
    world = World()
    worker = world.spawn("worker")
    hello = hello_of(worker)
    world.client.tell(worker.id, "work")
    worker.commit(worker.turn_of("work"))

    world.turn(worker.route, [hello])
    world.client.tell(worker.id, "more")

    assert worker.methods() == ["work", "more"]


def test_a_hello_that_comes_later_than_the_next_one_takes_nothing_away() -> None:
    world = World()
    worker = world.spawn("worker")
    late = hello_of(worker, attempt=2)
    reconnect(worker, attempt=3)

    world.turn(world.new_route(), [late])
    world.client.tell(worker.id, "work")

    assert worker.methods() == ["work"]


def test_a_session_that_has_ended_cannot_come_back_in_the_next_epoch() -> None:
    world = World(session_grace_s=1.0)
    client = ScriptedClient(world, new_session_id(random.Random(3)))
    client.connect()
    world.advance(5)

    world.kill_kernel()
    client.connect()

    assert error_name(client.rejected) == "HandshakeError"


def test_a_process_known_only_by_its_hello_is_watched() -> None:
    world = World()
    worker = world.spawn("worker")
    record = world.core.state.actors[worker.id]
    record.pid = record.start_time = None  # the kernel died before it was told
    world.core.state.save_actor(record)
    world.turn()
    world.kill_kernel()
    world.commands.clear()

    reconnect(worker, pid=77, start_time=5)

    assert WatchProcess(worker.id, 1, 77, 5) in world.commands


# --- calls of retried turns ------------------------------------------------------------------


def asking_pair(**config: Any) -> tuple[World, ScriptedAgent, ScriptedAgent, int]:
    """Return an asker in a turn, whom it may ask, and the turn."""
    world = World(**config)
    asker, callee = world.spawn("asker"), world.spawn("callee")
    world.introduce(asker, callee)
    world.client.tell(asker.id, "go")
    return world, asker, callee, asker.turn_of("go")


def test_an_agent_that_died_with_its_kernel_does_not_ask_twice() -> None:
    world, asker, callee, turn = asking_pair(adoption_window_s=0.1)
    asker.ask(turn, callee.id, "sum")

    world.kill_kernel()
    callee.connect()
    world.advance(1)
    again = world.agent(asker.id)
    again.ask(again.turn_of("go"), callee.id, "sum")

    assert again.incarnation == 2
    assert len({e.message for e in callee.granted}) == 1


def test_a_retried_call_is_answered_under_its_new_number_by_the_next_kernel() -> None:
    world, asker, callee, turn = asking_pair()
    asker.ask(turn, callee.id, "sum")
    asker.crash()
    again = world.agent(asker.id)
    again.next_correlation()
    number = again.ask(turn, callee.id, "sum")

    world.kill_kernel()
    reconnect(again, open=[turn])
    callee.open = [callee.turn_of("sum")]
    callee.connect()
    callee.commit(callee.turn_of("sum"), reply=5)

    assert number == 2
    assert again.answer(number) == 5


def test_a_call_the_present_attempt_has_not_come_to_is_not_claimed_by_its_adoption() -> None:
    world, asker, callee, turn = asking_pair()
    asker.ask(turn, callee.id, "sum")
    asker.crash()
    again = world.agent(asker.id)  # it has begun the turn, and asked nothing yet

    world.kill_kernel()
    reconnect(again, open=[turn])
    again.ask(turn, callee.id, "sum")

    assert len([m for m in world.core.state.messages.values() if m.receiver == callee.id]) == 1


def test_a_number_of_an_earlier_incarnation_does_not_cancel_a_later_call() -> None:
    world, asker, callee, turn = asking_pair()
    asker.ask(turn, callee.id, "first")
    asker.crash()
    again = world.agent(asker.id)
    number = again.ask(turn, callee.id, "second")
    again.ask(turn, callee.id, "first")

    again.send(Envelope(Kind.CANCEL, again.id, correlation=number))

    left = [decode_plain(m.envelope.payload)[0] for m in world.core.state.messages.values()]
    assert left == ["go", "first"]


def test_a_refused_ask_is_told_by_the_next_kernel() -> None:
    world, asker, _, turn = asking_pair()
    world.routes.pop(asker.route)  # the refusal does not arrive
    number = asker.ask(turn, 10_000, "x")

    world.kill_kernel()
    reconnect(asker, open=[turn])

    assert error_name(asker.answer(number)) == "NoCapabilityError"


def test_a_clients_refused_tell_is_told_before_it_seems_accepted() -> None:
    world = World()
    route = world.client.route
    world.routes.pop(route)
    number = world.client.tell(10_000, "x")

    world.kill_kernel()
    world.client.connect()

    assert error_name(world.client.answer(number)) == "UnknownActorError"
    assert world.client.welcome["taken"] == 0


# --- order -----------------------------------------------------------------------------------


def test_a_message_granted_behind_a_failed_one_does_not_overtake_it() -> None:
    world = World()
    worker = world.spawn("worker")
    world.client.tell(worker.id, "one")
    world.client.tell(worker.id, "two")
    worker.fail(worker.turn_of("one"), boom())

    worker.commit(worker.turn_of("two"), worker.state(done=b"two"))
    worker.send(Envelope(Kind.RESUME, worker.id))
    world.advance(1)

    assert refused_turns(worker) == [worker.turn_of("one")]
    assert worker.methods() == ["one", "two", "one", "two"]
    assert world.core.state.actors[worker.id].state == {}


def test_a_tell_does_not_overtake_the_publish_before_it() -> None:
    world = World(mailbox_messages=2)
    declares = {"subscriptions": [["news", "x", "wait"]]}
    teller, reader = world.spawn("teller"), world.spawn("reader", declares=declares)
    world.introduce(teller, reader)
    world.client.tell(reader.id, "one")
    world.client.tell(teller.id, "go")
    turn = teller.turn_of("go")
    reserve(teller, turn, reader.id)
    news = Envelope(Kind.PUBLISH, teller.id, payload=encode_plain(["news", body("news")]))

    teller.commit(turn, news, teller.told(reader.id, "then"))

    assert reader.methods() == ["one", "news", "then"]


def test_an_adopted_turn_does_not_overtake_a_message_in_backoff() -> None:
    world = World()
    worker = world.spawn("worker")
    world.client.tell(worker.id, "one")
    world.client.tell(worker.id, "two")
    second = worker.turn_of("two")
    world.routes.pop(worker.route)  # what the failure brings about does not arrive
    worker.fail(worker.turn_of("one"), boom())

    world.kill_kernel()
    reconnect(worker, open=[second])
    worker.commit(second, worker.state(done=b"two"))

    assert refused_turns(worker) == [second]
    assert world.core.state.actors[worker.id].state == {}


# --- room ------------------------------------------------------------------------------------


def test_a_cancelled_turn_stands_in_no_line() -> None:
    world, asker, callee, turn = asking_pair(mailbox_messages=1)
    full = world.spawn("full")
    world.introduce(callee, full)
    world.client.tell(full.id, "fills it")
    number = asker.ask(turn, callee.id, "work")
    reserve(callee, callee.turn_of("work"), full.id)
    assert world.core.state.actors[full.id].mailbox.waiting

    asker.send(Envelope(Kind.CANCEL, asker.id, correlation=number))

    assert not world.core.state.actors[full.id].mailbox.waiting


def test_room_taken_by_a_refused_turn_is_not_lost() -> None:
    world, asker, callee, turn = asking_pair()
    reserve(asker, turn, callee.id)
    assert world.core.state.actors[callee.id].mailbox.lent_messages > 0

    asker.send(Envelope(Kind.RESUME, asker.id))

    assert world.core.state.actors[callee.id].mailbox.lent_messages == 0


def test_room_that_comes_from_elsewhere_ends_the_wait_for_it() -> None:
    world, asker, callee, turn = asking_pair(mailbox_messages=1)
    world.client.tell(callee.id, "fills it")
    number = reserve(asker, turn, callee.id)
    assert world.core.state.actors[asker.id].slots == 0

    asker.send(Envelope(Kind.CANCEL, asker.id, correlation=number))

    assert not world.core.state.actors[callee.id].mailbox.waiting
    assert world.core.state.actors[asker.id].slots == 1


def test_a_ring_of_waits_for_room_is_broken_even_if_a_client_stands_before_it() -> None:
    world, asker, callee, turn = asking_pair(mailbox_messages=1)
    world.introduce(callee, asker)
    world.client.tell(asker.id, "stands in line")
    asker.ask(turn, callee.id, "work")

    number = reserve(callee, callee.turn_of("work"), asker.id)

    answers = [e.kind for e in callee.got if e.correlation == number]
    assert answers in ([Kind.CREDIT], [Kind.REFUSED])


def test_nowait_does_not_stand_in_line_when_others_do() -> None:
    world = World(mailbox_bytes=2048)
    worker = world.spawn("worker")
    world.client.tell(worker.id, "x" * 1000)
    world.client.tell(worker.id, "x" * 1000)

    number = world.client.tell(worker.id, "small", flags=Flag.NOWAIT)

    assert error_name(world.client.answer(number)) == "MailboxFullError"


# --- streams ---------------------------------------------------------------------------------


def item(agent: ScriptedAgent, turn: int, value: int) -> Envelope:
    return Envelope(Kind.ITEM, agent.id, 0, encode_plain(value), turn=turn, index=value)


def test_a_producer_that_waits_for_its_reader_holds_no_slot() -> None:
    world = World(turn_slots=1)
    producer, other = world.spawn("producer"), world.spawn("other")
    world.client.ask(producer.id, "count", flags=Flag.STREAM, index=1)
    producer.send(item(producer, producer.turn_of("count"), 0))

    world.client.tell(other.id, "work")

    assert other.methods() == ["work"]


def test_an_adopted_producer_goes_on_where_it_was() -> None:
    world = World()
    producer = world.spawn("producer")
    number = world.client.ask(producer.id, "count", flags=Flag.STREAM, index=4)
    turn = producer.turn_of("count")
    producer.send(item(producer, turn, 0), item(producer, turn, 1))

    world.kill_kernel()
    world.client.connect()
    reconnect(producer, open=[turn])
    producer.send(item(producer, turn, 2))

    items = [e.index for e in world.client.got if e.kind == Kind.ITEM and e.correlation == number]
    assert items == [0, 1, 0, 1, 2]


def test_credit_given_while_the_producer_was_away_reaches_it() -> None:
    world = World()
    producer = world.spawn("producer")
    number = world.client.ask(producer.id, "count", flags=Flag.STREAM, index=1)
    turn = producer.turn_of("count")

    world.kill_kernel()
    world.client.connect()
    world.client.send(Envelope(Kind.STREAM_CREDIT, world.client.id, correlation=number, index=3))
    reconnect(producer, open=[turn])

    assert producer.last(Kind.STREAM_CREDIT).index == 3


# --- keys ------------------------------------------------------------------------------------


def test_two_asks_under_way_with_one_key_are_both_answered() -> None:
    world = World()
    worker = world.spawn("worker")
    key = {"flags": Flag.KEYED, "digest": b"k" * 16}
    first = world.client.ask(worker.id, "work", **key)
    second = world.client.ask(worker.id, "work", **key)

    worker.commit(worker.turn_of("work"), reply=7)

    assert [world.client.answer(first), world.client.answer(second)] == [7, 7]
    assert worker.methods() == ["work"]


def test_a_repeated_ask_is_answered_by_the_next_kernel() -> None:
    world = World()
    worker = world.spawn("worker")
    key = {"flags": Flag.KEYED, "digest": b"k" * 16}
    world.client.ask(worker.id, "work", **key)
    second = world.client.ask(worker.id, "work", **key)
    turn = worker.turn_of("work")

    world.kill_kernel()
    world.client.connect()
    reconnect(worker, open=[turn])
    worker.commit(turn, reply=7)

    assert world.client.answer(second) == 7


def test_a_cancelled_ask_gives_its_key_free() -> None:
    world = World()
    worker = world.spawn("worker")
    key = {"flags": Flag.KEYED, "digest": b"k" * 16}
    first = world.client.ask(worker.id, "work", **key)
    world.client.send(Envelope(Kind.CANCEL, world.client.id, correlation=first))
    cancelled = Envelope(Kind.COMMIT, turn=worker.turn_of("work"), flags=Flag.CANCELLED)
    worker.send(cancelled)

    world.client.ask(worker.id, "work", **key)

    assert worker.methods() == ["work", "work"]


# --- rings, concurrency ----------------------------------------------------------------------


def test_a_turn_redelivered_alone_may_still_ask_its_own_actor() -> None:
    world = World()
    worker = world.spawn("worker", declares={"concurrency": 3})
    world.client.tell(worker.id, "one")
    world.client.tell(worker.id, "two")
    worker.crash()
    again = world.agent(worker.id)
    assert again.methods() == ["one"]

    again.ask(again.turn_of("one"), worker.id, "inner")

    assert again.methods() == ["one", "two"]


def test_a_ring_that_closes_when_another_answer_comes_is_broken() -> None:
    world, asker, callee, turn = asking_pair()
    third = world.spawn("third")
    world.introduce(asker, third)
    world.introduce(callee, asker)
    asker.ask(turn, third.id, "slow")
    asker.ask(turn, callee.id, "work")
    number = callee.ask(callee.turn_of("work"), asker.id, "back")
    assert callee.answer(number) is None

    third.commit(third.turn_of("slow"), reply=1)
    world.advance(3)

    assert error_name(callee.answer(number)) == "DeadlockError"


def test_a_recorded_answer_is_not_taken_for_an_ask_that_closes_a_ring() -> None:
    world, asker, callee, turn = asking_pair(backoff_jitter=0)
    third = world.spawn("third")
    world.introduce(asker, third)
    asker.ask(turn, callee.id, "sum")
    callee.commit(callee.turn_of("sum"), reply=1)
    asker.fail(turn, boom())
    world.advance(0.2)  # the second attempt begins
    asker.ask(turn, third.id, "slow")
    asker.ask(turn, asker.id, "itself")  # a ring, as soon as the third has answered
    third.commit(third.turn_of("slow"), reply=2)

    number = asker.ask(turn, callee.id, "sum")

    answers = [e.kind for e in asker.got if e.correlation == number and e.turn == turn]
    assert answers == [Kind.REPLY]
    assert asker.answer(number) == 1


# --- ends ------------------------------------------------------------------------------------


def test_an_expired_tell_is_a_dead_letter() -> None:
    world = World()
    worker = world.spawn("worker")
    world.client.tell(worker.id, "one")
    world.client.tell(worker.id, "late", deadline=SECOND, priority=6)
    worker.crash()
    world.holds_starts = True

    world.advance(2)

    letters = world.client.system("dead_letters")
    assert [letter["reason"] for letter in letters] in (["expired"], [])
    assert not any(m.due_ns for m in world.core.state.messages.values() if not m.granted)


def test_killing_an_actor_that_asks_itself_ends_everything_it_had() -> None:
    world = World(mailbox_messages=1)
    worker = world.spawn("worker", declares={"concurrency": 2})
    world.client.ask(worker.id, "outer")
    worker.ask(worker.turn_of("outer"), worker.id, "inner")

    answer = world.client.system("kill", actor=worker.id)

    assert answer == {"terminated": ["worker"]}
    assert world.pending() == 0
    assert world.core.statistics().get("syscalls_misfit", 0) == 0


def test_an_agent_told_to_stop_is_killed_in_time_by_the_next_kernel() -> None:
    world = World(stop_grace_s=1.0)
    worker = world.spawn("worker")
    world.client.tell(worker.id, "never ends")
    stopping = world.client.ask_system("stop", actor=worker.id)

    world.kill_kernel()
    world.client.connect()
    worker.open = [worker.turn_of("never ends")]
    worker.connect()
    world.advance(3)

    assert world.client.answer(stopping) == {}


def test_a_stop_is_answered_even_if_a_restart_comes_after_it() -> None:
    world = World(stop_grace_s=1.0)
    worker = world.spawn("worker")
    world.client.tell(worker.id, "busy")
    stopping = world.client.ask_system("stop", actor=worker.id)
    restarting = world.client.ask_system("restart", actor=worker.id)

    world.advance(3)

    assert world.client.answer(stopping) == {}
    assert world.client.answer(restarting)["actor"] == worker.id


def test_a_handle_that_is_not_held_is_refused_before_anything_is_applied() -> None:
    world, asker, callee, turn = asking_pair()
    stranger = world.spawn("stranger")
    refs = (1).to_bytes(2, "little") + stranger.id.to_bytes(8, "little")
    told = Envelope(Kind.TELL, asker.id, callee.id, refs + body("x"), flags=Flag.HAS_REFS)

    asker.commit(turn, asker.state(x=b"1"), told)

    assert callee.granted == []
    assert world.core.state.actors[asker.id].state == {}


def test_an_answer_covered_by_a_hello_is_forgotten() -> None:
    world = World()
    worker = world.spawn("worker")
    world.client.ask(worker.id, "work")
    worker.commit(worker.turn_of("work"), reply=1)
    world.client.acknowledge()
    world.client.ask(worker.id, "work")
    worker.commit(worker.turn_of("work"), reply=2)
    assert len(world.core.state.calls) == 1

    world.client.connect()

    assert len(world.core.state.calls) == 0


def test_killing_an_asker_whose_callee_waits_for_its_room_ends_both() -> None:
    world, asker, callee, turn = asking_pair(mailbox_messages=1)
    world.introduce(callee, asker)
    for name in ("one", "two"):  # they take the room over the limit
        other = world.spawn(name)
        world.introduce(other, asker)
        world.client.tell(other.id, "go")
        reserve(other, other.turn_of("go"), asker.id)
    asker.ask(turn, callee.id, "work")
    reserve(callee, callee.turn_of("work"), asker.id)

    answer = world.client.system("kill", actor=asker.id)

    assert answer == {"terminated": ["asker"]}
    assert world.core.statistics().get("syscalls_misfit", 0) == 0
    assert callee.last(Kind.CANCEL).turn == callee.turn_of("work")


# --- what an agent or a kernel had begun before the kernel died ------------------------------


def test_a_commit_of_a_dropped_attempt_is_not_taken_for_the_next_one() -> None:
    world = World()
    worker = world.spawn("worker")
    world.client.tell(worker.id, "work")
    turn = worker.turn_of("work")
    world.turn()
    route, worker.route = worker.route, b"nowhere"  # the commit does not arrive either
    worker.commit(turn, worker.state(x=b"stale"))
    world.routes.pop(route)

    world.kill_kernel()
    reconnect(worker, open=[], sent=worker.channel.next_sequence - 1)  # it has dropped its turns

    assert refused_turns(worker) == [turn]
    assert world.core.state.actors[worker.id].state == {}


def outputs_of(world: World) -> list[Any]:
    """Return the list that will say of each output of the core whether it may leave early."""
    seen: list[Any] = []
    emit = world.emit

    def look(output: Any) -> None:
        seen.append(bool(output.early) and not output.changes.opens_ids)
        emit(output)

    world.emit = look  # type: ignore[method-assign]
    return seen


def test_a_grant_that_opens_a_new_block_of_ids_waits_for_the_journal() -> None:
    world = World()
    worker = world.spawn("worker")
    world.core.state.counter = world.core.state.reserved
    seen = outputs_of(world)

    world.client.tell(worker.id, "first of its block")
    world.client.tell(worker.id, "second")

    assert seen[:2] == [False, True]


def test_a_grant_of_another_attempt_waits_for_the_journal() -> None:
    world, asker, callee, turn = asking_pair(backoff_jitter=0)
    asker.ask(turn, callee.id, "sum")
    callee.commit(callee.turn_of("sum"), reply=1)
    asker.fail(turn, boom())
    seen = outputs_of(world)

    world.advance(0.15)

    assert asker.methods() == ["go", "go"]
    assert seen[0] is False


def test_a_failed_actor_is_restarted_only_when_its_process_is_gone() -> None:
    world = World()
    worker = world.spawn("worker")
    error = encode_plain({"code": 303, "fields": boom().fields})
    worker.crash()
    worker = world.agent(worker.id)
    worker.send(Envelope(Kind.BYE, worker.id, 0, error, flags=Flag.FAILED))
    killed: list[Any] = []
    run, world._run = world._run, killed.append  # commands are held

    world.client.ask_system("restart", actor=worker.id)

    assert [type(command).__name__ for command in killed] == ["KillProcess"]
    world._run = run
    world.exited(worker.id, worker.incarnation)
    assert world.agent(worker.id).incarnation == 3


def test_calls_that_are_alike_keep_their_order_through_a_kernel_crash() -> None:
    world = World()
    asker, other = world.spawn("asker"), world.spawn("other", declares={"concurrency": 2})
    world.introduce(asker, other)
    world.client.ask(asker.id, "work")
    turn = asker.turn_of("work")
    same = b"d" * 16
    asker.ask(turn, other.id, "first", digest=same)
    asker.ask(turn, other.id, "second", digest=same)
    other.commit(other.turn_of("first"), reply="one")  # finished: it is read from another table

    world.kill_kernel()
    world.client.connect()
    world.advance(3)
    asker = world.agent(asker.id)
    turn = asker.turn_of("work")
    again = asker.ask(turn, other.id, "first", digest=same)

    assert asker.answer(again) == "one"


def test_room_forgone_by_one_turn_leaves_the_wait_of_another_alone() -> None:
    world = World(mailbox_messages=1)
    worker, full = world.spawn("worker", declares={"concurrency": 2}), world.spawn("full")
    world.introduce(worker, full)
    world.client.tell(full.id, "fills it")
    world.client.ask(worker.id, "one", priority=4)
    turns = [worker.turn_of("one")]
    record = world.core.state.actors[worker.id]
    record.mailbox.limit_messages = 5
    world.client.ask(worker.id, "two")
    turns.append(worker.turn_of("two"))
    numbers = [reserve(worker, turn, full.id) for turn in turns]

    worker.send(Envelope(Kind.CANCEL, worker.id, correlation=numbers[1]))

    assert [record.open[turn].reservations for turn in turns] == [[full.id], []]


def test_a_lender_with_plenty_of_room_lends_ahead_and_a_nearly_full_one_does_not() -> None:
    world = World()
    teller, plenty = world.spawn("teller"), world.spawn("plenty")
    little = world.spawn("little", mailbox_messages=4)
    world.introduce(teller, plenty, little)
    world.client.ask(teller.id, "go")
    turn = teller.turn_of("go")

    lent = {}
    for lender in (plenty, little):
        reserve(teller, turn, lender.id)
        lent[lender.id] = decode_plain(teller.last(Kind.CREDIT).payload)[0]

    assert lent == {plenty.id: 1 + PREFETCHED_CREDIT, little.id: 1}


def test_room_is_lent_without_waiting_for_the_journal() -> None:
    world = World()
    teller, reader = world.spawn("teller"), world.spawn("reader")
    world.introduce(teller, reader)
    world.client.ask(teller.id, "go")
    seen = outputs_of(world)

    reserve(teller, teller.turn_of("go"), reader.id)

    assert seen == [True]


def test_tells_held_or_let_in_by_one_loop_turn_are_told_of_together() -> None:
    world = World(turn_quantum=1)
    worker, client = world.spawn("worker", mailbox_messages=1), world.client
    tells = [
        Envelope(Kind.TELL, client.id, worker.id, body("m"), correlation=client.next_correlation())
        for _ in range(4)
    ]

    client.send(*tells)
    client.system("kill", actor=worker.id)

    told = [e for e in client.got if e.kind in (Kind.HELD, Kind.ACCEPTED)]
    assert [(e.kind, e.correlation, e.message) for e in told] == [
        (Kind.HELD, tells[1].correlation, 2),
        (Kind.ACCEPTED, tells[1].correlation, 2),
    ]


def test_the_crashes_of_children_do_not_count_as_their_parents() -> None:
    world = World(restart_intensity=2)
    parent = world.spawn("parent")
    child = world.spawn("child", parent=parent.id)

    for _ in range(2):
        for actor in (parent, child):
            world.agent(actor.id).crash()
            world.advance(1)

    assert {line["state"] for line in world.client.system("ps")} == {"idle"}


def test_a_restart_by_an_operator_forgives_the_crashes_of_a_child() -> None:
    world = World(restart_intensity=2)
    child = world.spawn("child", parent=world.spawn("parent").id)
    for _ in range(3):
        world.agent(child.id).crash()
        world.advance(1)

    world.client.system("restart", actor="child")
    world.agent(child.id).crash()
    world.advance(1)

    assert {line["state"] for line in world.client.system("ps")} == {"idle"}


@pytest.mark.parametrize("policy", ["fcfs", "priority"])
def test_an_agent_whose_message_waits_for_budget_is_granted_nothing(policy: str) -> None:
    world = World(turn_policy=policy)
    worker = world.spawn("worker", budget={"messages": 0})
    world.client.tell(worker.id, "first")
    worker.commit(worker.turn_of("first"), worker.told(worker.id, "again"))
    world.client.tell(worker.id, "second")
    before = worker.methods()

    world.client.system("budget_top_up", actor="worker", amounts={"messages": 1})
    worker.commit(worker.turn_of("again"))

    assert before == ["first"]
    assert worker.methods() == ["first", "again", "second"]


def test_a_tell_with_room_of_who_has_another_budget_does_not_stand_in_line() -> None:
    world = World()
    teller, little = world.spawn("teller", budget={"tokens": 9}), world.spawn("little")
    world.introduce(teller, little)
    world.core.state.actors[little.id].mailbox.limit_messages = 1
    world.client.ask(teller.id, "go")
    turn = teller.turn_of("go")
    reserve(teller, turn, little.id)
    world.client.tell(little.id, "behind")

    teller.commit(turn, teller.told(little.id, "first"))
    little.commit(little.turn_of("first"))

    assert little.methods() == ["first", "behind"]


def test_a_kernel_kills_the_processes_that_the_one_before_had_condemned() -> None:  # seed 3100339
    world = World()
    worker = world.spawn("worker")
    world._run = world.commands.append  # type: ignore[method-assign]  # nothing is carried out
    world.client.system("kill", actor="worker")
    condemned = dict(world.journal.load()["condemned"])
    del world._run
    world.commands.clear()

    world.kill_kernel()  # before it could kill anybody
    killed = [command for command in world.commands if isinstance(command, KillProcess)]
    world.turn()

    assert condemned == {(worker.id, 1): (1000, 1)}
    assert killed == [KillProcess(worker.id, 1, 1000, 1)]
    assert not world.journal.load()["condemned"]
    assert not world.core.state.condemned
