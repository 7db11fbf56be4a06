"""SEMANTICS.md, section by section, against the core with scripted peers.

Long because it has one test for each sentence of that page, in its order.
"""

from __future__ import annotations

import pytest

from ext.wire import Envelope
from ipc.channel import Channel
from ipc.errors import BY_CODE, NoHandlerError, RemoteError
from ipc.plain import decode_plain, encode_plain
from ipc.protocol import Flag, Kind
from tests.kernel.world import SECOND, ScriptedClient, World, body


def boom() -> RemoteError:
    return RemoteError(type_name="ValueError", actor="B", handler="x", message="no", traceback="tb")


def error_name(wire: dict) -> str:
    return BY_CODE[wire["code"]].__name__


# --- at least once ---------------------------------------------------------------------------


def test_an_accepted_tell_survives_a_kernel_crash() -> None:
    world = World()
    worker = world.spawn("worker")
    world.client.tell(worker.id, "work", 1)

    world.kill_kernel()
    worker.connect()

    assert worker.methods() == ["work", "work"]  # granted before, and again by the new kernel


def test_a_message_is_redelivered_until_its_turn_commits() -> None:
    world = World()
    worker = world.spawn("worker")
    world.client.tell(worker.id, "work")
    first = worker.turn_of("work")

    worker.crash()
    again = world.agent(worker.id)

    assert again.incarnation == 2
    assert again.turn_of("work") == first
    again.commit(first)
    assert world.pending() == 0


def test_a_message_that_keeps_failing_ends_as_a_dead_letter_with_its_error() -> None:
    world = World(max_attempts=3)
    worker = world.spawn("worker")
    world.client.tell(worker.id, "work")

    for _ in range(3):
        worker.fail(worker.turn_of("work"), boom())
        world.advance(60)

    (letter,) = world.client.system("dead_letters")
    assert (letter["reason"], letter["attempts"]) == ("max_attempts", 3)
    assert letter["error"]["fields"]["type_name"] == "ValueError"
    assert len(worker.granted) == 3
    assert world.pending() == 0


# --- effectively once ------------------------------------------------------------------------


def test_a_turn_that_dies_before_its_commit_leaves_no_effects() -> None:
    world = World()
    sender, target = world.spawn("sender"), world.spawn("target")
    world.introduce(sender, target)
    world.client.tell(sender.id, "go")
    turn = sender.turn_of("go")
    commit = Envelope(Kind.COMMIT, sender.id, turn=turn, index=2)
    sender.send(commit, sender.told(target.id, "hello"))  # its second effect never comes

    sender.crash()

    assert target.methods() == []
    assert world.agent(sender.id).turn_of("go") == turn


def test_a_commit_that_arrives_twice_is_applied_once() -> None:
    world = World()
    sender, target = world.spawn("sender"), world.spawn("target")
    world.introduce(sender, target)
    world.client.tell(sender.id, "go")
    sender.commit(sender.turn_of("go"), sender.told(target.id, "hello"))
    repeated = list(sender.channel.kept_as_sent()) or [
        Envelope(Kind.COMMIT, sender.id, turn=sender.turn_of("go"), sequence=1)
    ]

    world.turn(sender.route, repeated)

    assert target.methods() == ["hello"]
    assert world.core.statistics()["frames_repeated"] >= 1


def test_a_commit_resent_to_the_next_kernel_is_applied_once() -> None:
    world = World()
    sender, target = world.spawn("sender"), world.spawn("target")
    world.introduce(sender, target)
    world.client.tell(sender.id, "go")
    turn = sender.turn_of("go")
    effects = [sender.told(target.id, "hello"), Envelope(Kind.REPLY, sender.id)]
    commit = [Envelope(Kind.COMMIT, sender.id, turn=turn, index=2), *effects]
    numbered = [sender.channel.number(envelope) for envelope in commit]
    world.turn(sender.route, [envelope.copy() for envelope in numbered])

    world.kill_kernel()
    heard = sender.channel.taken
    sender.channel = Channel(10_000, 1 << 30, taken=heard)  # it never heard that these were taken
    sender.channel.next_sequence = numbered[0].sequence
    for envelope in numbered:
        sender.channel.number(envelope)
    sender.open = [turn]
    sender.connect()
    target.connect()

    assert [m for m in target.methods() if m == "hello"] == ["hello", "hello"]  # one a kernel
    assert len({e.message for e in target.granted}) == 1


def test_state_is_written_with_the_commit_and_read_by_the_next_incarnation() -> None:
    world = World()
    worker = world.spawn("worker")
    world.client.tell(worker.id, "work")
    worker.commit(worker.turn_of("work"), worker.state(count=encode_plain(1)))

    worker.crash()

    assert world.agent(worker.id).welcome["state"] == {"count": encode_plain(1)}


# --- calls are not repeated ------------------------------------------------------------------


def test_a_retried_turn_gets_the_recorded_answer_and_nothing_is_asked_twice() -> None:
    world = World()
    asker, callee = world.spawn("asker"), world.spawn("callee")
    world.introduce(asker, callee)
    world.client.tell(asker.id, "go")
    asker.ask(asker.turn_of("go"), callee.id, "pay", 10)
    callee.commit(callee.turn_of("pay"), reply="paid")

    asker.crash()
    asker = world.agent(asker.id)
    correlation = asker.ask(asker.turn_of("go"), callee.id, "pay", 10)

    assert asker.answer(correlation) == "paid"
    assert callee.methods() == ["pay"]


def test_a_retried_turn_attaches_to_the_call_that_is_still_under_way() -> None:
    world = World()
    asker, callee = world.spawn("asker"), world.spawn("callee")
    world.introduce(asker, callee)
    world.client.tell(asker.id, "go")
    asker.ask(asker.turn_of("go"), callee.id, "pay", 10)

    asker.crash()
    asker = world.agent(asker.id)
    correlation = asker.ask(asker.turn_of("go"), callee.id, "pay", 10)
    callee.commit(callee.turn_of("pay"), reply="paid")

    assert asker.answer(correlation) == "paid"
    assert callee.methods() == ["pay"]


def test_recorded_calls_survive_a_kernel_crash() -> None:
    world = World()
    asker, callee = world.spawn("asker"), world.spawn("callee")
    world.introduce(asker, callee)
    world.client.tell(asker.id, "go")
    turn = asker.turn_of("go")
    first = asker.ask(turn, callee.id, "pay", 10)
    world.routes.pop(asker.route)  # the answer is lost with the kernel
    callee.commit(callee.turn_of("pay"), reply="paid")

    world.kill_kernel()
    callee.connect()
    asker.open = [turn]
    asker.connect()

    assert asker.answer(first) == "paid"
    assert callee.methods() == ["pay"]


def test_a_retried_turn_that_asks_something_else_is_counted_as_diverged() -> None:
    world = World()
    asker, callee = world.spawn("asker"), world.spawn("callee")
    world.introduce(asker, callee)
    world.client.tell(asker.id, "go")
    asker.ask(asker.turn_of("go"), callee.id, "pay", 10)
    callee.commit(callee.turn_of("pay"), reply="paid")

    asker.crash()
    asker = world.agent(asker.id)
    asker.ask(asker.turn_of("go"), callee.id, "refund", 10)

    assert world.core.statistics()["turns_diverged"] == 1


# --- order -----------------------------------------------------------------------------------


def test_redelivered_messages_keep_their_order() -> None:
    world = World()
    worker = world.spawn("worker")
    for number in range(5):
        world.client.tell(worker.id, f"m{number}")
    worker.commit(worker.turn_of("m0"))

    worker.crash()

    assert world.agent(worker.id).methods() == ["m1", "m2", "m3", "m4"]


def test_a_tell_in_backoff_holds_back_its_own_lane_and_no_other() -> None:
    world = World(turn_quantum=1)
    worker = world.spawn("worker")
    other = ScriptedClient(world, world.client.id + 1)
    other.connect()
    world.client.tell(worker.id, "bad")
    world.client.tell(worker.id, "after")
    worker.fail(worker.turn_of("bad"), boom())
    other.tell(worker.id, "free")

    assert worker.methods() == ["bad", "free"]
    worker.commit(worker.turn_of("free"))
    world.advance(60)
    assert worker.methods() == ["bad", "free", "bad"]
    worker.commit(worker.turn_of("bad"))
    assert worker.methods()[-1] == "after"


def test_an_urgent_message_overtakes_those_not_yet_granted() -> None:
    world = World(turn_quantum=1)
    worker = world.spawn("worker")
    world.client.tell(worker.id, "first")
    world.client.tell(worker.id, "usual")
    world.client.tell(worker.id, "urgent", priority=1)

    worker.commit(worker.turn_of("first"))

    assert worker.methods() == ["first", "urgent"]


# --- one turn at a time, deadlock ------------------------------------------------------------


def test_an_actor_whose_turn_waits_is_granted_nothing_more() -> None:
    world = World()
    asker, callee = world.spawn("asker"), world.spawn("callee")
    world.introduce(asker, callee)
    world.client.tell(asker.id, "go")
    asker.ask(asker.turn_of("go"), callee.id, "think")

    world.client.tell(asker.id, "next")

    assert asker.methods() == ["go"]
    assert world.core.state.slots.used == 1  # the callee's; the asker waits


def test_a_ring_of_asks_is_refused_to_the_one_who_closes_it() -> None:
    world = World()
    a, b = world.spawn("a"), world.spawn("b")
    world.introduce(a, b)
    world.introduce(b, a)
    world.client.tell(a.id, "go")
    first = a.ask(a.turn_of("go"), b.id, "there")

    closing = b.ask(b.turn_of("there"), a.id, "back")

    refusal = b.answer(closing)
    assert error_name(refusal) == "DeadlockError"
    assert refusal["fields"]["ring"] == "b -> a -> b"
    b.commit(b.turn_of("there"), reply="fine")
    assert a.answer(first) == "fine"


def test_concurrency_lets_a_ring_go_on() -> None:
    world = World()
    a, b = world.spawn("a", declares={"concurrency": 2}), world.spawn("b")
    world.introduce(a, b)
    world.introduce(b, a)
    world.client.tell(a.id, "go")
    a.ask(a.turn_of("go"), b.id, "there")

    back = b.ask(b.turn_of("there"), a.id, "back")
    a.commit(a.turn_of("back"), reply="hello")

    assert b.answer(back) == "hello"


# --- back-pressure ---------------------------------------------------------------------------


def test_a_full_mailbox_makes_the_sender_wait_and_loses_nothing() -> None:
    world = World(turn_quantum=1)
    worker = world.spawn("worker", mailbox_messages=2)
    for number in range(4):
        world.client.tell(worker.id, f"m{number}")

    held = [e.correlation for e in world.client.got if e.kind == Kind.HELD]
    assert len(held) == 2
    for number in range(4):
        worker.commit(worker.turn_of(f"m{number}"))
    accepted = [e.correlation for e in world.client.got if e.kind == Kind.ACCEPTED]
    assert accepted == held
    assert worker.methods() == ["m0", "m1", "m2", "m3"]


def test_nowait_is_refused_by_a_full_mailbox() -> None:
    world = World()
    worker = world.spawn("worker", mailbox_messages=1)
    world.client.tell(worker.id, "m0")

    refused = world.client.tell(worker.id, "m1", flags=Flag.NOWAIT)

    assert error_name(world.client.answer(refused)) == "MailboxFullError"
    assert world.pending() == 1


def test_a_turn_reserves_room_before_it_commits_a_tell() -> None:
    world = World(turn_quantum=1)
    sender, target = world.spawn("sender"), world.spawn("target", mailbox_messages=1)
    world.introduce(sender, target)
    world.client.tell(target.id, "fills")
    world.client.tell(sender.id, "go")
    turn = sender.turn_of("go")
    wish = Envelope(
        Kind.RESERVE, sender.id, target.id, encode_plain([1, 200]), turn=turn, correlation=9
    )

    sender.send(wish)
    assert Kind.CREDIT not in sender.kinds()
    target.commit(target.turn_of("fills"))

    credit = sender.last(Kind.CREDIT)
    assert (credit.correlation, decode_plain(credit.payload)[0] >= 1) == (9, True)
    sender.commit(turn, sender.told(target.id, "hello"))
    assert target.methods() == ["fills", "hello"]


def test_two_turns_that_wait_for_each_others_room_are_let_go_over_the_limit() -> None:
    world = World(turn_quantum=1)
    a, b = world.spawn("a", mailbox_messages=1), world.spawn("b", mailbox_messages=1)
    world.introduce(a, b)
    world.introduce(b, a)
    for agent in (a, b):
        world.client.tell(agent.id, "go")
    for agent, other in ((a, b), (b, a)):
        wish = encode_plain([1, 200])
        turn = agent.turn_of("go")
        agent.send(Envelope(Kind.RESERVE, agent.id, other.id, wish, turn=turn, correlation=5))

    assert Kind.CREDIT in b.kinds() or Kind.CREDIT in a.kinds()
    assert world.core.statistics()["admitted_over_limit"] == 1


# --- deadlines and cancellation --------------------------------------------------------------


def test_a_deadline_reaches_the_asker_and_stops_the_work_below() -> None:
    world = World()
    middle, last = world.spawn("middle"), world.spawn("last")
    world.introduce(middle, last)
    asked = world.client.ask(middle.id, "go", deadline=SECOND)
    middle.ask(middle.turn_of("go"), last.id, "deep")

    world.advance(2)

    assert error_name(world.client.answer(asked)) == "AskTimeoutError"
    assert middle.last(Kind.CANCEL).turn == middle.turn_of("go")
    assert last.last(Kind.CANCEL).turn == last.turn_of("deep")


def test_a_commit_after_the_cancel_is_refused_and_rolled_back() -> None:
    world = World()
    worker = world.spawn("worker")
    asked = world.client.ask(worker.id, "go")
    turn = worker.turn_of("go")
    cancel = Envelope(Kind.CANCEL, world.client.id, 0, correlation=asked)
    world.client.send(cancel)

    worker.commit(turn, worker.state(x=encode_plain(1)))

    assert worker.last(Kind.REFUSED).turn == turn
    worker.send(Envelope(Kind.RESUME, worker.id))
    assert decode_plain(worker.last(Kind.STATE).payload) == {}
    assert world.core.state.actors[worker.id].state == {}


def test_a_cancelled_turn_is_not_retried() -> None:
    world = World()
    worker = world.spawn("worker")
    asked = world.client.ask(worker.id, "go")
    turn = worker.turn_of("go")
    world.client.send(Envelope(Kind.CANCEL, world.client.id, 0, correlation=asked))

    worker.send(Envelope(Kind.COMMIT, worker.id, turn=turn, flags=Flag.CANCELLED))

    assert world.pending() == 0
    worker.crash()
    assert world.agent(worker.id).granted == []


def test_an_expired_tell_is_not_started_and_is_counted() -> None:
    world = World(turn_quantum=1)
    worker = world.spawn("worker")
    world.client.tell(worker.id, "busy")
    world.client.tell(worker.id, "late", deadline=SECOND)

    world.advance(2)
    worker.commit(worker.turn_of("busy"))

    assert worker.methods() == ["busy"]
    assert world.core.statistics()["expired"] == 1


# --- failure is told -------------------------------------------------------------------------


def test_a_handlers_error_reaches_the_asker_with_its_traceback() -> None:
    world = World()
    worker = world.spawn("worker")
    asked = world.client.ask(worker.id, "go")

    worker.fail(worker.turn_of("go"), boom())

    answer = world.client.answer(asked)
    assert error_name(answer) == "RemoteError"
    assert answer["fields"]["traceback"] == "tb"
    assert world.pending() == 0


def test_a_tell_without_a_handler_is_a_dead_letter_at_once() -> None:
    world = World()
    worker = world.spawn("worker")
    world.client.tell(worker.id, "nonsense")
    error = NoHandlerError(actor="worker", handler="nonsense", known="")

    worker.fail(worker.turn_of("nonsense"), error)

    (letter,) = world.client.system("dead_letters")
    assert letter["reason"] == "no_handler"


def test_a_dead_letter_can_be_retried_and_dropped() -> None:
    world = World(max_attempts=1)
    worker = world.spawn("worker")
    world.client.tell(worker.id, "work")
    worker.fail(worker.turn_of("work"), boom())
    (letter,) = world.client.system("dead_letters")

    world.client.system("retry_letter", number=letter["number"])
    worker.fail(worker.turn_of("work"), boom())
    (letter,) = world.client.system("dead_letters")
    world.client.system("drop_letter", number=letter["number"])

    assert world.client.system("dead_letters") == []
    assert worker.methods() == ["work", "work"]


def test_an_ask_that_kills_its_receiver_each_time_is_answered_with_an_error() -> None:
    world = World(max_attempts=2, restart_intensity=10)
    worker = world.spawn("worker")
    asked = world.client.ask(worker.id, "poison")

    worker.crash()
    world.advance(60)
    world.agent(worker.id).crash()
    world.advance(60)

    assert error_name(world.client.answer(asked)) == "AttemptsExhaustedError"
    assert world.agent(worker.id).granted == []


# --- crash, stop, termination ----------------------------------------------------------------


def test_termination_reclaims_everything_and_tells_everybody() -> None:
    world = World()
    victim, asker = world.spawn("victim"), world.spawn("asker")
    world.introduce(asker, victim)
    world.client.tell(asker.id, "go")
    asked = asker.ask(asker.turn_of("go"), victim.id, "think")
    world.client.tell(victim.id, "mail")

    answer = world.client.system("kill", actor="victim")

    assert answer == {"terminated": ["victim"]}
    assert error_name(asker.answer(asked)) == "ActorDeadError"
    (letter,) = world.client.system("dead_letters")
    assert letter["reason"] == "receiver_terminated"
    refused = world.client.tell(victim.id, "more")
    assert error_name(world.client.answer(refused)) == "ActorDeadError"
    rows = world.journal.load()
    assert victim.id not in rows["actor"]


def test_a_stopped_actor_keeps_its_mailbox_for_the_next_start() -> None:
    world = World()
    worker = world.spawn("worker")
    world.client.system("stop", actor="worker")
    worker.send(Envelope(Kind.BYE, worker.id))
    world.exited(worker.id, 1, "exit 0")
    world.client.tell(worker.id, "later")

    world.client.system("restart", actor="worker")

    assert world.agent(worker.id).methods() == ["later"]


def test_a_child_of_a_turn_that_never_commits_is_terminated() -> None:
    world = World()
    parent = world.spawn("parent")
    asked = world.client.ask(parent.id, "go")
    turn = parent.turn_of("go")
    parent.system(turn, "spawn", spec={"qualname": "C", "module": "m", "name": "child"})
    assert "child" in list(world.core.state.names)

    parent.fail(turn, boom())

    assert error_name(world.client.answer(asked)) == "RemoteError"
    assert "child" not in list(world.core.state.names)


def test_a_retried_spawn_gets_the_child_it_has_spawned() -> None:
    world = World()
    parent = world.spawn("parent")
    world.client.tell(parent.id, "go")
    spec = {"qualname": "C", "module": "m", "name": "child"}
    turn = parent.turn_of("go")
    first = parent.answer(parent.system(turn, "spawn", spec=spec))

    parent.crash()
    parent = world.agent(parent.id)
    again = parent.answer(parent.system(turn, "spawn", spec=spec))
    parent.commit(turn)

    assert again == first
    assert world.core.state.actors[first["actor"]].spawn_turn == 0


def test_an_actor_that_crashes_too_often_is_quarantined_and_keeps_its_mail() -> None:
    world = World(restart_intensity=2, max_attempts=100)
    worker = world.spawn("worker")
    world.client.tell(worker.id, "poison")

    for _ in range(3):
        world.agent(worker.id).crash()
        world.advance(1)

    (line,) = world.client.system("ps")
    assert line["state"] == "quarantined"
    said = world.client.system("inspect", actor="worker")["last_error"]
    assert said == "worker is quarantined after 2 restarts in 10.0 s"
    assert world.pending() == 1
    world.client.system("restart", actor="worker")
    assert world.agent(worker.id).methods() == ["poison"]


def test_a_fenced_incarnation_is_rejected() -> None:
    world = World()
    worker = world.spawn("worker")
    worker.crash()
    assert world.agent(worker.id).incarnation == 2

    worker.connect()

    assert worker.rejected is not None
    assert error_name(worker.rejected) == "FencedError"


def test_a_new_kernel_replaces_an_agent_that_does_not_say_hello() -> None:
    world = World(adoption_window_s=2)
    worker = world.spawn("worker")
    world.client.tell(worker.id, "work")

    world.kill_kernel()
    world.advance(3)

    again = world.agent(worker.id)
    assert again.incarnation == 2
    assert again.methods() == ["work"]


def test_a_due_timer_fires_once_in_the_next_kernel() -> None:
    world = World()
    worker = world.spawn("worker")
    world.client.tell(worker.id, "go")
    timer = Envelope(
        Kind.TIMER, worker.id, worker.id, body("wake"), correlation=77, deadline=5 * SECOND
    )
    worker.commit(worker.turn_of("go"), timer)

    world.kill_kernel()
    worker.connect()
    world.advance(10)

    assert worker.methods().count("wake") == 1
    worker.commit(worker.turn_of("wake"))
    world.advance(10)
    assert worker.methods().count("wake") == 1


def test_without_a_handle_nothing_is_sent() -> None:
    world = World()
    a, b = world.spawn("a"), world.spawn("b")
    world.client.tell(a.id, "go")

    refused = a.ask(a.turn_of("go"), b.id, "hello")

    assert error_name(a.answer(refused)) == "NoCapabilityError"
    assert b.methods() == []


@pytest.mark.parametrize("kind", ["link", "monitor"])
def test_links_end_together_and_monitors_are_told(kind: str) -> None:
    world = World()
    a, b = world.spawn("a"), world.spawn("b")
    world.introduce(a, b)
    world.client.tell(a.id, "go")
    watch = Envelope(Kind.WATCH, a.id, 0, encode_plain([kind, b.id]))
    a.commit(a.turn_of("go"), watch)

    world.client.system("kill", actor="b")

    names = [line["name"] for line in world.client.system("ps")]
    if kind == "link":
        assert names == []
    else:
        assert names == ["a"]
        assert world.agent(a.id).methods()[-1] == "$down"


def test_stream_items_are_recorded_before_they_are_shown_and_not_shown_twice() -> None:
    world = World()
    producer = world.spawn("producer")
    asked = world.client.ask(producer.id, "count", flags=Flag.STREAM, index=10)
    turn = producer.turn_of("count")
    producer.send(Envelope(Kind.ITEM, producer.id, payload=encode_plain(0), turn=turn))

    producer.crash()
    producer = world.agent(producer.id)
    for number in range(2):
        producer.send(
            Envelope(Kind.ITEM, producer.id, payload=encode_plain(number), turn=turn, index=number)
        )
    producer.commit(turn)

    items = [decode_plain(e.payload) for e in world.client.got if e.kind == Kind.ITEM]
    assert items == [0, 1]
    assert any(e.kind == Kind.REPLY and e.correlation == asked for e in world.client.got)


def test_a_retried_producer_with_other_items_is_an_error() -> None:
    world = World()
    producer = world.spawn("producer")
    asked = world.client.ask(producer.id, "count", flags=Flag.STREAM, index=10)
    turn = producer.turn_of("count")
    producer.send(Envelope(Kind.ITEM, producer.id, payload=encode_plain(0), turn=turn))

    producer.crash()
    again = world.agent(producer.id)
    again.send(Envelope(Kind.ITEM, again.id, payload=encode_plain(99), turn=turn))

    assert error_name(world.client.answer(asked)) == "StreamDivergedError"


def test_a_key_makes_a_clients_ask_happen_once() -> None:
    world = World()
    worker = world.spawn("worker")
    key = b"k" * 16
    world.client.ask(worker.id, "pay", flags=Flag.KEYED, digest=key)
    worker.commit(worker.turn_of("pay"), reply="receipt")

    again = world.client.ask(worker.id, "pay", flags=Flag.KEYED, digest=key)

    assert world.client.answer(again) == "receipt"
    assert worker.methods() == ["pay"]


def test_a_client_that_comes_back_gets_the_answer_it_missed() -> None:
    world = World()
    worker = world.spawn("worker")
    asked = world.client.ask(worker.id, "go")
    world.routes.pop(world.client.route)

    worker.commit(worker.turn_of("go"), reply="here")
    world.kill_kernel()
    world.client.connect()

    assert world.client.answer(asked) == "here"


def test_a_lost_session_ends_after_its_grace_and_its_asks_are_cancelled() -> None:
    world = World(session_grace_s=5)
    worker = world.spawn("worker")
    world.client.ask(worker.id, "go")

    world.advance(10)

    assert worker.last(Kind.CANCEL).turn == worker.turn_of("go")
    assert world.core.state.peers.sessions == {}


def test_shutdown_stops_children_before_parents_and_keeps_registrations() -> None:
    world = World()
    parent = world.spawn("parent")
    child = world.spawn("child", parent=parent.id)

    world.client.system("shutdown")
    assert Kind.STOP in child.kinds()
    assert Kind.STOP not in parent.kinds()
    for agent in (child, parent):
        agent.send(Envelope(Kind.BYE, agent.id))
        world.exited(agent.id, 1, "exit 0")

    assert world.has_left
    world.kill_kernel()
    assert [world.agent(a.id).incarnation for a in (parent, child)] == [2, 2]
