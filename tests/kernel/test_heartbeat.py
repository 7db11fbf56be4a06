"""kernel/heartbeat.py: an agent that stands still within a turn is replaced; others are not."""

from __future__ import annotations

from tests.kernel.world import SECOND, ScriptedAgent, World

LEASE_S = 20
STATED_S = 1.1 * LEASE_S + 4


def in_a_turn(world: World) -> ScriptedAgent:
    """Return an agent that has been granted a message and says nothing."""
    worker = world.spawn("worker")
    world.client.ask(worker.id, "work")
    return worker


def incarnation(world: World, agent: ScriptedAgent) -> int:
    return world.agent(agent.id).incarnation


def test_an_agent_that_stands_still_in_a_turn_is_replaced_within_the_stated_time() -> None:
    world = World(lease_s=LEASE_S)
    worker = in_a_turn(world)

    world.advance(LEASE_S)
    before = incarnation(world, worker)
    world.advance(STATED_S - LEASE_S)

    assert (before, incarnation(world, worker)) == (1, 2)
    assert world.agent(worker.id).methods() == ["work"]
    assert world.core.statistics()["leases_expired"] == 1
    assert world.core.statistics()["crashes"] == 1


def test_a_spinning_process_is_replaced_too() -> None:
    world = World(lease_s=LEASE_S)
    world.doing = ("wants cpu", 1.0)
    worker = in_a_turn(world)

    world.advance(STATED_S)

    assert incarnation(world, worker) == 2


def test_an_agent_that_answers_may_take_its_time() -> None:
    world = World(lease_s=LEASE_S)
    worker = in_a_turn(world)
    worker.is_lively = True

    world.advance(10 * LEASE_S)

    assert incarnation(world, worker) == 1
    assert 0 < worker.num_asked <= 100 + 1  # a tenth of the lease between two questions


def test_anything_an_agent_says_is_a_sign_of_life() -> None:
    world = World(lease_s=LEASE_S)
    worker = in_a_turn(world)

    for _ in range(10):
        world.advance(LEASE_S * 0.9)
        worker.ask(worker.turn_of("work"), worker.id, "more")

    assert incarnation(world, worker) == 1


def test_time_in_which_the_process_was_stopped_does_not_count() -> None:
    world = World(lease_s=LEASE_S)
    worker = in_a_turn(world)
    world.doing = ("stopped", 0.0)

    world.advance(100 * LEASE_S)
    stopped = incarnation(world, worker)
    world.doing = ("asleep", 0.0)
    world.advance(STATED_S)

    assert (stopped, incarnation(world, worker)) == (1, 2)


def test_a_starved_process_loses_only_the_time_it_could_run() -> None:
    world = World(lease_s=LEASE_S)
    world.doing = ("wants cpu", 0.1)
    worker = in_a_turn(world)

    world.advance(9 * LEASE_S)
    before = incarnation(world, worker)
    world.advance(3 * LEASE_S)

    assert (before, incarnation(world, worker)) == (1, 2)


def test_time_in_which_the_kernel_did_not_run_does_not_count() -> None:
    world = World(lease_s=LEASE_S)
    worker = in_a_turn(world)
    world.advance(LEASE_S / 2)

    world.now_ns += 100 * LEASE_S * SECOND  # it was stopped, and so was all that it would have read
    world.turn()
    worker.acknowledge()
    world.advance(LEASE_S)

    assert incarnation(world, worker) == 1


def test_who_has_no_open_turn_is_not_asked() -> None:
    world = World(lease_s=LEASE_S)
    worker = in_a_turn(world)
    worker.commit(worker.turn_of("work"))

    world.advance(10 * LEASE_S)

    assert worker.num_asked == 0
    assert incarnation(world, worker) == 1


def test_the_lease_of_the_class_goes_before_that_of_the_kernel() -> None:
    world = World(lease_s=1000)
    worker = world.spawn("worker", declares={"lease_s": 2.0})
    world.client.ask(worker.id, "work")

    world.advance(1.1 * 2 + 4)

    assert incarnation(world, worker) == 2
