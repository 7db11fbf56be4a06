"""Pools of agents, against the core with scripted peers: where messages go."""

from __future__ import annotations

import pytest

from ext.wire import Envelope
from ipc.plain import encode_plain
from ipc.protocol import Flag, Kind
from kernel.actor_record import Status
from tests.kernel.pools import (
    TestedPool,
    boom,
    error_name,
    keep_crashing,
    reconnect,
    tell,
)
from tests.kernel.world import World, body

# --- routing ---------------------------------------------------------------------------------


def test_a_message_to_a_pool_is_one_members_and_its_asker_gets_the_answer() -> None:
    world = World()
    pool = TestedPool(world, minimum=3)

    asked = world.client.ask(pool.id, "work")
    member = pool.having("work")
    member.commit(member.turn_of("work"), reply=42)

    assert world.client.answer(asked) == 42
    assert world.pending() == 0
    assert world.journal.load().get("routed", {}) == {}


def test_messages_are_spread_over_the_members() -> None:
    world = World()
    pool = TestedPool(world, minimum=3, maximum=3)

    for number in range(6):
        tell(world, pool, f"m{number}")

    assert [member.methods() for member in pool.members] == [
        ["m0", "m3"],
        ["m1", "m4"],
        ["m2", "m5"],
    ]


def test_the_choice_of_a_member_survives_the_kernel() -> None:
    world = World()
    pool = TestedPool(world, minimum=3, maximum=3)
    for number in range(6):
        tell(world, pool, f"m{number}")
    before = {member.name: member.methods() for member in pool.members}

    world.kill_kernel()
    reconnect(world)

    assert {m.name: m.methods()[2:] for m in pool.members} == before  # granted to the same again
    assert pool.info()["unfinished"] == 6
    assert sorted(pool.finish_all()) == [f"m{number}" for number in range(6)]
    assert world.pending() == 0


def test_a_crashed_members_messages_wait_for_its_restart() -> None:
    world = World()
    pool = TestedPool(world, minimum=2, maximum=2)
    for number in range(4):
        tell(world, pool, f"m{number}")
    first = pool.members[0]

    first.crash()

    assert world.agents[first.id].methods() == ["m0", "m2"]
    assert pool.info()["taken_over"] == 0


def test_messages_from_one_sender_to_one_member_keep_their_order() -> None:
    world = World()
    pool = TestedPool(world, minimum=2, maximum=2, balance="p2c")
    for number in range(40):
        tell(world, pool, f"m{number:02}")

    done = {member.name: [] for member in pool.members}
    while any(pool.has(member) for member in pool.members):
        for member in pool.members:
            for name in pool.has(member)[:1]:
                member.commit(member.turn_of(name))
                done[member.name].append(name)

    assert all(names == sorted(names) and len(names) >= 10 for names in done.values())


def test_agents_tell_and_ask_a_pool_like_any_actor() -> None:
    world = World()
    pool = TestedPool(world, minimum=2)
    boss = world.spawn("boss")
    world.client.tell(boss.id, "go")
    turn = boss.turn_of("go")
    assert boss.lookup(turn, "pool") == {"actor": pool.id, "name": "pool"}

    asked = boss.ask(turn, pool.id, "question")
    member = pool.having("question")
    member.commit(member.turn_of("question"), reply="yes")
    boss.commit(turn, boss.told(pool.id, "news"))

    assert boss.answer(asked) == "yes"
    assert pool.having("news")


def test_an_agent_without_its_handle_may_not_send_to_a_pool() -> None:
    world = World()
    pool = TestedPool(world, minimum=1)
    boss = world.spawn("boss")
    world.client.tell(boss.id, "go")

    refused = boss.answer(boss.ask(boss.turn_of("go"), pool.id, "question"))

    assert error_name(refused) == "NoCapabilityError"


def test_references_in_a_message_reach_the_member_as_handles() -> None:
    world = World()
    pool = TestedPool(world, minimum=1)
    target = world.spawn("target")
    payload = bytes([1, 0]) + target.id.to_bytes(8, "little") + body("take")
    world.client.send(
        Envelope(Kind.TELL, world.client.id, pool.id, payload, flags=Flag.HAS_REFS, correlation=99)
    )

    (member,) = pool.members
    assert target.id in world.core.state.actors[member.id].handles


# --- where to --------------------------------------------------------------------------------


def test_messages_of_one_affinity_go_to_one_member_in_order_while_any_is_unfinished() -> None:
    world = World()
    pool = TestedPool(world, minimum=3, maximum=3)
    for number in range(6):
        tell(world, pool, f"k{number}", affinity="customer-7")
        tell(world, pool, f"x{number}")

    kept = [[name for name in pool.has(m) if name[0] == "k"] for m in pool.members]

    assert sorted(kept, key=len) == [[], [], [f"k{number}" for number in range(6)]]
    assert pool.info()["kept_together"] == 5


def test_messages_of_one_affinity_wait_for_a_member_that_restarts_or_drains() -> None:
    world = World()
    pool = TestedPool(world, minimum=3, maximum=3)
    tell(world, pool, "k0", affinity="customer-7")
    bound = pool.having("k0")

    world.holds_starts = True
    bound.crash()
    tell(world, pool, "k1", affinity="customer-7")
    world.start_processes()
    world.client.system("pool_resize", pool="pool", minimum=1, maximum=1)
    tell(world, pool, "k2", affinity="customer-7")

    assert pool.has(bound) == ["k0", "k1", "k2"]


def test_messages_of_one_affinity_stay_together_when_their_member_is_gone() -> None:
    world = World()
    pool = TestedPool(world, minimum=3, maximum=3)
    for number in range(5):
        tell(world, pool, f"k{number}", affinity="customer-7")
    old = pool.having("k0")

    world.client.system("kill", actor=old.id)

    assert pool.has(pool.having("k0")) == [f"k{number}" for number in range(5)]


def test_affinity_holds_over_a_kernel_crash() -> None:
    world = World()
    pool = TestedPool(world, minimum=3, maximum=3)
    tell(world, pool, "k0", affinity="customer-7")
    name = pool.having("k0").name

    world.kill_kernel()
    reconnect(world)
    for number in range(1, 5):
        tell(world, pool, f"k{number}", affinity="customer-7")

    assert pool.having("k4").name == name


def test_messages_that_are_to_be_apart_go_to_different_members() -> None:
    world = World()
    pool = TestedPool(world, minimum=3, maximum=3, balance="skill")  # which chooses by chance

    for number in range(3):
        tell(world, pool, f"m{number}", apart="vote")

    assert [len(member.methods()) for member in pool.members] == [1, 1, 1]


def test_a_message_that_asks_for_a_skill_goes_to_a_member_that_declares_it() -> None:
    world = World()
    skills = [["french"], ["german"]]
    pool = TestedPool(world, minimum=2, maximum=2, balance="skill", skills=skills)

    for number in range(6):
        tell(world, pool, f"m{number}", skill="german")

    first, second = pool.members
    assert (len(pool.has(first)), len(pool.has(second))) == (0, 6)
    assert world.core.state.actors[second.id].spec["environment"] == {"LLMOS_SKILLS": "german"}


@pytest.mark.parametrize(
    "payload",
    [b"", b"\xc1", encode_plain(7), encode_plain(["m", [], {}, 7]), b"\x94\xa1m\x90\x80", b"\x94"],
)
def test_hints_that_are_none_are_no_hints(payload: bytes) -> None:
    world = World()
    pool = TestedPool(world, minimum=1)

    world.client.send(Envelope(Kind.TELL, world.client.id, pool.id, payload, correlation=99))

    assert len(pool.members[0].granted) == 1


def test_an_idle_member_takes_what_a_busy_one_has_not_begun() -> None:
    world = World()
    pool = TestedPool(world, minimum=2, maximum=2, balance="round_robin")
    for number in range(8):
        tell(world, pool, f"m{number}")
    slow, quick = pool.members
    assert pool.has(slow) == ["m0", "m2", "m4", "m6"]

    for name in pool.has(quick):
        quick.commit(quick.turn_of(name))

    assert pool.has(slow) == ["m0", "m2", "m6"]  # two were granted to it
    assert pool.has(quick) == ["m4"]
    assert pool.info()["passed_on"] == 1


def test_messages_that_belong_together_are_not_passed_on() -> None:
    world = World()
    pool = TestedPool(world, minimum=2, maximum=2)
    for number in range(6):
        tell(world, pool, f"k{number}", affinity="customer-7")
    tell(world, pool, "other")
    together, idle = pool.having("k0"), pool.having("other")

    idle.commit(idle.turn_of("other"))

    assert pool.has(together) == [f"k{number}" for number in range(6)]


def test_nothing_is_passed_on_that_a_process_may_have_begun_under_an_earlier_kernel() -> None:
    world = World()
    pool = TestedPool(world, minimum=2, maximum=2)
    for number in range(8):
        tell(world, pool, f"m{number}")
    first, second = pool.members
    before = pool.has(first)

    world.kill_kernel()
    second.connect()
    world.client.connect()
    for name in pool.has(second):
        second.commit(second.turn_of(name))

    assert pool.has(first) == before
    first.connect()
    world.advance(1)
    assert pool.has(second)  # those of the first that were not granted again


# --- takeover --------------------------------------------------------------------------------


def test_a_killed_members_messages_go_to_the_others_in_order_and_are_counted() -> None:
    world = World(turn_quantum=1)
    pool = TestedPool(world, minimum=2, maximum=2)
    for number in range(8):
        tell(world, pool, f"m{number}")
    lost, other = pool.members

    world.client.system("kill", actor=lost.id)
    finished = pool.finish_all()

    assert sorted(finished) == [f"m{number}" for number in range(8)]
    assert pool.info()["taken_over"] == 4
    assert other.methods()[:5] == ["m1", "m3", "m0", "m2", "m4"]  # two it had begun
    assert world.pending() == 0


def test_a_quarantined_members_messages_go_to_the_others() -> None:
    world = World(max_attempts=100, restart_intensity=0)
    pool = TestedPool(world, minimum=2, maximum=2)
    for number in range(4):
        tell(world, pool, f"m{number}")
    lost, other = pool.members

    keep_crashing(world, lost)

    assert pool.has(other) == ["m0", "m1", "m2", "m3"]
    assert (pool.info()["lost"], pool.info()["taken_over"]) == (1, 2)


def test_a_crashing_member_does_not_quarantine_the_others() -> None:
    world = World(max_attempts=100, restart_intensity=1)
    pool = TestedPool(world, minimum=3, maximum=3)
    first, second, _ = pool.members
    keep_crashing(world, first)

    second.crash()
    world.advance(1)

    assert world.core.state.actors[second.id].status is Status.RUNNING


def test_a_member_that_an_operator_stops_gives_its_messages_away() -> None:
    world = World()
    pool = TestedPool(world, minimum=2, maximum=2)
    for number in range(4):
        tell(world, pool, f"m{number}")
    lost, other = pool.members

    world.client.ask_system("stop", actor=lost.id)
    lost.send(Envelope(Kind.BYE, lost.id))
    world.exited(lost.id, lost.incarnation)

    assert pool.has(other) == ["m0", "m1", "m2", "m3"]


def test_without_any_member_left_messages_wait_at_the_pool() -> None:
    world = World(max_attempts=100, restart_intensity=0)
    pool = TestedPool(world, minimum=1, maximum=1)
    keep_crashing(world, pool.members[0])
    asked = world.client.ask(pool.id, "work")
    tell(world, pool, "more")

    world.kill_kernel()
    world.client.connect()
    assert pool.info()["unfinished"] == 2
    world.client.ask_system("restart", actor=pool.members[0].id)

    assert pool.members[0].methods() == ["work", "more"]
    pool.finish_all()
    assert world.client.answer(asked) == "pool.1"


def test_another_member_gets_the_recorded_answers_of_the_turn_it_takes_over() -> None:
    world = World()
    pool = TestedPool(world, minimum=2, maximum=2)
    helper = world.spawn("helper")
    asked = world.client.ask(pool.id, "work")
    lost = pool.having("work")
    turn = lost.turn_of("work")
    lost.lookup(turn, "helper")
    lost.ask(turn, helper.id, "first")
    helper.commit(helper.turn_of("first"), reply="one")
    lost.ask(turn, helper.id, "second")  # still under way when its asker dies

    world.client.system("kill", actor=lost.id)
    heir = pool.having("work")
    heir.lookup(turn, "helper")
    first = heir.ask(turn, helper.id, "first")
    second = heir.ask(turn, helper.id, "second")
    helper.commit(helper.turn_of("second"), reply="two")
    heir.commit(turn, reply="done")

    assert heir.granted[-1].flags & Flag.REDELIVERED
    assert (heir.answer(first), heir.answer(second)) == ("one", "two")
    assert helper.methods() == ["first", "second"]  # nothing was asked twice
    assert world.client.answer(asked) == "done"
    assert world.pending() == 0


def test_what_was_taken_over_is_so_after_a_kernel_crash() -> None:
    world = World()
    pool = TestedPool(world, minimum=2, maximum=2)
    helper = world.spawn("helper")
    asked = world.client.ask(pool.id, "work")
    lost = pool.having("work")
    turn = lost.turn_of("work")
    lost.lookup(turn, "helper")
    lost.ask(turn, helper.id, "first")
    helper.commit(helper.turn_of("first"), reply="one")
    lost.ask(turn, helper.id, "second")
    world.client.system("kill", actor=lost.id)
    heir_id = pool.having("work").id
    world.agents.pop(lost.id)

    world.kill_kernel()
    reconnect(world)
    heir = world.agents[heir_id]
    first = heir.ask(turn, helper.id, "first")
    heir.ask(turn, helper.id, "second")
    helper.commit(helper.turn_of("second"), reply="two")
    heir.commit(turn, reply="done")

    assert heir.answer(first) == "one"
    assert world.client.answer(asked) == "done"
    assert world.pending() == 0


def test_what_a_turn_had_asked_of_its_own_pool_is_taken_over_with_it_and_done_once() -> None:
    world = World()
    pool = TestedPool(world, minimum=1, maximum=1, declares={"concurrency": 2})
    asked = world.client.ask(pool.id, "work")
    (lost,) = pool.members
    turn = lost.turn_of("work")
    lost.ask(turn, pool.id, "part")
    before = pool.has(lost)

    world.client.system("kill", actor=lost.id)
    (heir,) = pool.members
    part = heir.ask(turn, pool.id, "part")
    heir.commit(heir.turn_of("part"), reply="half")
    heir.commit(turn, reply="done")

    assert before == ["work", "part"]
    assert heir.methods() == ["work", "part"]
    assert heir.answer(part) == "half"
    assert world.client.answer(asked) == "done"
    assert not pool.pool.jobs


def test_a_late_commit_of_a_member_that_was_given_up_changes_nothing() -> None:
    world = World()
    pool = TestedPool(world, minimum=2, maximum=2)
    asked = world.client.ask(pool.id, "work")
    lost = pool.having("work")
    turn = lost.turn_of("work")
    world.client.system("kill", actor=lost.id)

    world.turn(lost.route, [Envelope(Kind.COMMIT, lost.id, turn=turn, sequence=1)])
    heir = pool.having("work")
    heir.commit(turn, reply="the heir's")

    assert world.client.answer(asked) == "the heir's"


def test_a_dead_letter_of_a_pool_that_is_retried_goes_to_any_member() -> None:
    world = World(max_attempts=1)
    pool = TestedPool(world, minimum=2, maximum=2)
    tell(world, pool, "work")
    first = pool.having("work")
    first.fail(first.turn_of("work"), boom())
    (letter,) = world.client.system("dead_letters", actor=pool.id)
    assert letter["receiver_name"] == first.name

    world.client.system("retry_letter", number=letter["number"])

    assert sum(member.methods().count("work") for member in pool.members) == 2
    assert pool.info()["unfinished"] == 1


# --- room, deadlines, rings ------------------------------------------------------------------


def test_a_full_pool_makes_the_sender_wait_and_refuses_nowait() -> None:
    world = World()
    pool = TestedPool(world, minimum=2, maximum=2, spec={"mailbox_messages": 3})
    for number in range(5):
        tell(world, pool, f"m{number}")
    assert (pool.info()["unfinished"], pool.info()["waiting"]) == (3, 2)
    refused = world.client.ask(pool.id, "urgent", flags=Flag.NOWAIT)

    done = pool.finish_all()

    assert error_name(world.client.answer(refused)) == "MailboxFullError"
    assert sorted(done) == [f"m{number}" for number in range(5)]
    assert pool.info()["waiting"] == 0


def test_messages_that_wait_for_room_survive_the_kernel_and_get_a_member_once() -> None:
    world = World()
    pool = TestedPool(world, minimum=2, maximum=2, spec={"mailbox_messages": 2})
    for number in range(5):
        tell(world, pool, f"m{number}")

    world.kill_kernel()
    reconnect(world)

    assert sorted(pool.finish_all()) == [f"m{number}" for number in range(5)]
    assert world.pending() == 0


def test_a_turn_reserves_room_in_a_pool_before_it_commits_a_tell() -> None:
    world = World()
    pool = TestedPool(world, minimum=1, maximum=1, spec={"mailbox_messages": 1})
    tell(world, pool, "first")
    boss = world.spawn("boss")
    world.introduce(boss)
    world.client.tell(boss.id, "go")
    turn = boss.turn_of("go")
    boss.lookup(turn, "pool")

    wish = encode_plain([1, 100])
    boss.send(Envelope(Kind.RESERVE, boss.id, pool.id, wish, turn=turn, correlation=5))
    assert Kind.CREDIT not in boss.kinds()
    pool.finish_all()

    assert boss.last(Kind.CREDIT).receiver == pool.id
    boss.commit(turn, boss.told(pool.id, "second"))
    assert pool.finish_all() == ["second"]


def test_a_member_that_asks_its_pool_does_not_get_its_own_question() -> None:
    world = World()
    pool = TestedPool(world, minimum=3, maximum=3)
    tell(world, pool, "divide")
    first = pool.having("divide")
    turn = first.turn_of("divide")

    first.ask(turn, pool.id, "half")
    second = pool.having("half")
    second.ask(second.turn_of("half"), pool.id, "quarter")

    assert len({first.name, second.name, pool.having("quarter").name}) == 3


def test_a_ring_of_asks_through_a_pool_is_refused_and_named() -> None:
    world = World()
    pool = TestedPool(world, minimum=1, maximum=1)
    tell(world, pool, "divide")
    (member,) = pool.members

    refused = member.answer(member.ask(member.turn_of("divide"), pool.id, "half"))

    assert error_name(refused) == "DeadlockError"
    assert "pool.1" in refused["fields"]["ring"]


def test_of_members_that_all_wait_for_room_in_their_own_pool_one_is_let_go_over_the_limit() -> None:
    world = World()
    pool = TestedPool(world, minimum=2, maximum=2, spec={"mailbox_messages": 2})
    tell(world, pool, "m0")
    tell(world, pool, "m1")
    wish = encode_plain([1, 100])

    for member in pool.members:
        turn = member.granted[-1].message
        member.send(Envelope(Kind.RESERVE, member.id, pool.id, wish, turn=turn, correlation=5))

    assert [Kind.CREDIT in member.kinds() for member in pool.members] == [True, False]
    assert world.core.statistics()["admitted_over_limit"] == 1


def test_a_deadline_passes_for_a_message_that_waits_at_a_pool() -> None:
    world = World(max_attempts=100, restart_intensity=0)
    pool = TestedPool(world, minimum=1, maximum=1)
    keep_crashing(world, pool.members[0])

    asked = world.client.ask(pool.id, "work", deadline=1_000_000_000)
    world.advance(2)

    assert error_name(world.client.answer(asked)) == "AskTimeoutError"
    assert pool.info()["unfinished"] == 0
    assert world.journal.load().get("routed", {}) == {}


def test_a_key_makes_a_clients_ask_to_a_pool_happen_once() -> None:
    world = World()
    pool = TestedPool(world, minimum=2)
    key = b"k" * 16
    first = world.client.ask(pool.id, "work", flags=Flag.KEYED, digest=key)
    second = world.client.ask(pool.id, "work", flags=Flag.KEYED, digest=key)

    done = pool.finish_all()

    assert done == ["work"]
    assert world.client.answer(first) == world.client.answer(second) is not None
