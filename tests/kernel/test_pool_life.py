"""Pools of agents, against the core with scripted peers: how they begin, grow, shrink and end."""

from __future__ import annotations

from typing import Any

import pytest

from ext.wire import Envelope
from ipc.errors import BadSpecError
from ipc.protocol import Flag, Kind
from tests.kernel.pools import (
    TestedPool,
    boom,
    error_name,
    keep_crashing,
    reconnect,
    say_it_cannot_be_loaded,
    tell,
)
from tests.kernel.world import ScriptedClient, World

# --- life ------------------------------------------------------------------------------------


def test_a_pool_is_answered_when_as_many_members_as_it_needs_are_up() -> None:
    world = World()
    world.holds_starts = True
    pool = TestedPool(world, minimum=2, maximum=4)
    assert pool.answer is None

    world.start_processes()

    answer = world.client.answer(pool.correlation)
    assert answer["name"] == "pool"
    assert [record.name for record in world.core.state.actors.values()] == [
        "pool",
        "pool.1",
        "pool.2",
    ]


def test_a_class_that_cannot_be_loaded_is_told_and_leaves_no_pool() -> None:
    world = World()
    world.holds_starts = True
    pool = TestedPool(world, minimum=1)
    (command,) = world.starting
    error = BadSpecError(target="x:Y", problem="no such module", traceback="")

    say_it_cannot_be_loaded(world, command, error)

    assert error_name(world.client.answer(pool.correlation)) == "BadSpecError"
    assert world.core.state.actors == {}
    assert world.core.state.names.find("pool") is None


def test_a_class_that_can_no_longer_be_loaded_is_tried_ever_more_slowly() -> None:
    world = World()
    pool = TestedPool(world, minimum=1)
    world.holds_starts = True
    world.client.system("pool_resize", pool="pool", minimum=2, maximum=2)
    error = BadSpecError(target="x:Y", problem="no such module", traceback="")
    starts = []

    for second in range(20):
        for command in world.starting:
            starts.append(second)
            say_it_cannot_be_loaded(world, command, error)
        world.starting = []
        world.advance(1)

    assert len(starts) == 5  # after 1, 2, 4 and 8 s
    assert pool.info()["running"] == 1


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"balance": "fastest"}, "UnknownPolicyError", "least_outstanding"),
        ({"minimum": 0}, "BadPolicyError", "minimum"),
        ({"minimum": 3, "maximum": 2}, "BadPolicyError", "maximum"),
        ({"minimum": "two"}, "UnknownCallError", "numbers"),
        ({"minimum": 5000}, "UnknownCallError", "4096"),
        ({"minimum": 1, "low": 9.0}, "BadPolicyError", "low"),
        ({"skills": [1]}, "UnknownCallError", "skills"),
        ({"shrink_after_s": -1}, "UnknownCallError", "shrink_after_s"),
    ],
)
def test_a_pool_that_cannot_be_is_refused_and_leaves_nothing(
    arguments: dict[str, Any], error: str, words: str
) -> None:
    world = World()

    pool = TestedPool(world, **arguments)

    assert error_name(pool.answer) == error
    assert words in str(pool.answer["fields"])
    assert world.core.state.actors == {}


def test_a_name_that_is_taken_is_refused() -> None:
    world = World()
    world.spawn("pool")

    assert error_name(TestedPool(world).answer) == "NameTakenError"


def test_a_pool_of_a_turn_that_never_commits_is_terminated_with_its_members() -> None:
    world = World(max_attempts=1)
    boss = world.spawn("boss")
    world.client.tell(boss.id, "go")
    spec = {"qualname": "Scripted", "module": "tests", "name": "pool"}
    made = boss.system(boss.turn_of("go"), "pool_create", spec=spec, minimum=2)
    assert boss.answer(made)["name"] == "pool"

    boss.fail(boss.turn_of("go"), boom())

    assert [record.name for record in world.core.state.actors.values()] == ["boss"]
    assert world.core.state.pools == {}
    assert world.journal.load()["pool"] == {}


def test_a_retried_pool_create_gets_the_pool_it_has_made() -> None:
    world = World()
    boss = world.spawn("boss")
    world.client.tell(boss.id, "go")
    spec = {"qualname": "Scripted", "module": "tests", "name": "pool"}
    boss.system(boss.turn_of("go"), "pool_create", spec=spec, minimum=2)
    boss.crash()
    world.advance(1)
    boss = world.agents[boss.id]

    again = boss.answer(boss.system(boss.turn_of("go"), "pool_create", spec=spec, minimum=2))
    boss.commit(boss.turn_of("go"))

    assert again["actor"] in world.core.state.pools
    assert len(world.core.state.actors) == 4


def test_a_pool_that_is_awaited_when_the_kernel_dies_is_answered_by_the_next() -> None:
    world = World()
    world.holds_starts = True
    pool = TestedPool(world, minimum=2)

    world.starting = []
    world.kill_kernel()
    world.client.connect()
    world.holds_starts = False
    world.advance(40)  # nobody says hello: both are started again

    assert world.client.answer(pool.correlation)["name"] == "pool"


def test_a_removed_pool_ends_with_its_members_and_refuses_while_it_has_work() -> None:
    world = World()
    pool = TestedPool(world, minimum=2)
    tell(world, pool, "work")

    refused = world.client.system("pool_remove", pool="pool")
    pool.finish_all()
    ended = world.client.system("pool_remove", pool="pool")

    assert error_name(refused) == "WrongStateError"
    assert sorted(ended["terminated"]) == ["pool", "pool.1", "pool.2"]
    assert world.core.state.actors == {}


def test_what_a_killed_pool_had_is_told_to_its_senders() -> None:
    world = World()
    pool = TestedPool(world, minimum=2)
    asked = world.client.ask(pool.id, "question")
    tell(world, pool, "news")

    world.client.system("kill", actor=pool.id)

    assert error_name(world.client.answer(asked)) == "ActorDeadError"
    (letter,) = world.client.system("dead_letters")
    assert letter["reason"] == "receiver_terminated"
    assert world.pending() == 0
    assert world.journal.load().get("routed", {}) == {}


def test_a_pool_has_no_process_to_stop_or_restart() -> None:
    world = World()
    TestedPool(world, minimum=1)

    stopped = world.client.system("stop", actor="pool")
    restarted = world.client.system("restart", actor="pool")

    assert error_name(stopped) == error_name(restarted) == "WrongStateError"


def test_shutdown_keeps_pools_and_what_they_hold_for_the_next_start() -> None:
    world = World()
    pool = TestedPool(world, minimum=2, maximum=2)
    tell(world, pool, "work")
    world.client.system("shutdown")
    for member in reversed(pool.members):
        member.send(Envelope(Kind.BYE, member.id))
        world.exited(member.id, member.incarnation)
    assert world.has_left

    world.kill_kernel()
    world.client.connect()

    assert pool.info()["running"] == 2
    assert pool.finish_all() == ["work"]


# --- size ------------------------------------------------------------------------------------


def test_a_pool_grows_under_load_that_lasts_up_to_its_maximum() -> None:
    world = World()
    pool = TestedPool(world, minimum=1, maximum=3)
    for number in range(20):
        tell(world, pool, f"m{number}")

    world.advance(5)

    assert [member.name for member in pool.members] == ["pool.1", "pool.2", "pool.3"]
    tell(world, pool, "next")
    assert pool.having("next").name != "pool.1"


def test_an_idle_pool_shrinks_to_its_minimum() -> None:
    world = World()
    pool = TestedPool(world, minimum=1, maximum=3, shrink_after_s=5)
    for number in range(20):
        tell(world, pool, f"m{number}")
    world.advance(5)
    pool.finish_all()

    world.advance(20)

    assert [member.name for member in pool.members] == ["pool.1"]
    assert len(world.core.state.actors) == 2
    assert world.core.next_due_ns() is not None


def test_only_a_member_without_anything_to_do_is_let_go() -> None:
    world = World()
    pool = TestedPool(world, minimum=2, maximum=2)
    tell(world, pool, "m0")
    tell(world, pool, "m1")

    world.client.system("pool_resize", pool="pool", minimum=1, maximum=1)
    world.advance(5)
    assert pool.info()["draining"] == 1
    tell(world, pool, "m2")
    busy = pool.members[1]
    busy.commit(busy.turn_of("m1"))

    assert [member.methods() for member in pool.members] == [["m0", "m2"]]
    assert world.core.statistics()["pool_members_ended"] == 1


def test_a_draining_member_is_taken_back_before_a_new_one_is_started() -> None:
    world = World()
    pool = TestedPool(world, minimum=2, maximum=2)
    tell(world, pool, "m0")
    tell(world, pool, "m1")
    world.client.system("pool_resize", pool="pool", minimum=1, maximum=1)

    world.client.system("pool_resize", pool="pool", minimum=2, maximum=2)

    assert [member.name for member in pool.members] == ["pool.1", "pool.2"]
    assert pool.info()["draining"] == 0


def test_members_of_any_state_are_never_more_than_the_maximum() -> None:
    world = World(max_attempts=100, restart_intensity=0)
    pool = TestedPool(world, minimum=2, maximum=3)

    for member in pool.members:
        keep_crashing(world, member)
    world.advance(30)

    assert (pool.info()["members"], pool.info()["lost"], pool.info()["running"]) == (3, 2, 1)
    world.client.system("kill", actor=pool.members[0].id)
    assert (pool.info()["members"], pool.info()["running"]) == (3, 2)


def test_a_member_that_is_killed_is_replaced() -> None:
    world = World()
    pool = TestedPool(world, minimum=2, maximum=4)

    world.client.system("kill", actor=pool.members[0].id)

    assert [member.name for member in pool.members] == ["pool.2", "pool.3"]


def test_limits_can_be_changed_and_survive_the_kernel() -> None:
    world = World()
    pool = TestedPool(world, minimum=1, maximum=1, balance="p2c", skills=["x"])
    refused = world.client.system("pool_resize", pool="pool", minimum=4)
    world.client.system("pool_resize", pool="pool", minimum=3, maximum=5)

    world.kill_kernel()
    reconnect(world)

    assert error_name(refused) == "BadPolicyError"
    info = pool.info()
    assert (info["minimum"], info["maximum"], info["balance"]) == (3, 5, "p2c")
    assert info["members"] == 3
    assert info["member_list"][0]["skills"] == ["x"]


def test_an_agent_may_change_only_pools_it_has_created() -> None:
    world = World()
    TestedPool(world, minimum=1)
    boss = world.spawn("boss")
    world.client.tell(boss.id, "go")
    turn = boss.turn_of("go")
    found = boss.lookup(turn, "pool")

    refused = boss.answer(boss.system(turn, "pool_resize", pool=found["actor"], minimum=2))

    assert error_name(refused) == "WrongStateError"


# --- what is known of members ------------------------------------------------------------------


def test_outstanding_and_response_times_of_members_are_told() -> None:
    world = World()
    pool = TestedPool(world, minimum=2, maximum=2)
    tell(world, pool, "quick")
    world.now_ns += 2_000_000
    pool.finish_all()
    tell(world, pool, "failing")
    member = pool.having("failing")
    member.fail(member.turn_of("failing"), boom())

    first, second = pool.info()["member_list"]

    assert 2.0 <= first["response_ms"] < 2.1
    assert (first["handled"], first["failed"], first["outstanding"]) == (1, 0, 0)
    assert (second["handled"], second["failed"], second["outstanding"]) == (0, 1, 1)
    assert second["scores"][""] < 0.5


def test_a_lost_clients_asks_to_a_pool_are_cancelled() -> None:
    world = World()
    pool = TestedPool(world, minimum=1)
    other = ScriptedClient(world, world.client.id + 1)
    other.connect()
    other.ask(pool.id, "work")

    other.send(Envelope(Kind.BYE, other.id))
    (member,) = pool.members
    assert Kind.CANCEL in member.kinds()
    turn = member.turn_of("work")
    member.send(Envelope(Kind.COMMIT, member.id, turn=turn, flags=Flag.CANCELLED))

    assert pool.info()["unfinished"] == 0
