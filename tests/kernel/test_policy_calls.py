"""Policies set at run time: nobody is lost, order in a mailbox stays, restarts remember."""

from __future__ import annotations

import random

import pytest

from ipc.errors import BY_CODE, UnknownPolicyError
from kernel.policy.policy_names import POLICIES
from tests.kernel.world import ScriptedAgent, World


def error_name(wire: dict) -> str:
    return BY_CODE[wire["code"]].__name__


def used(world: World, kind: str) -> tuple[str, str]:
    (info,) = (row for row in world.client.system("policies") if row["kind"] == kind)
    return info["policy"], info["source"]


def test_what_is_scheduled_is_listed_with_its_policy() -> None:
    world = World(turn_policy="feedback")

    assert used(world, "turns") == ("feedback", "configuration")
    assert used(world, "llm") == ("priority", "configuration")


@pytest.mark.parametrize("kind", ["turns", "llm"])
def test_a_policy_that_was_set_holds_over_a_restart_until_it_is_reset(kind: str) -> None:
    world = World(turn_policy="feedback")
    answer = world.client.system("policy_set", kind=kind, name="fair_share")

    assert (answer["policy"], answer["source"]) == ("fair_share", "set")
    world.kill_kernel()
    world.client.connect()
    assert used(world, kind) == ("fair_share", "set")

    world.client.system("policy_reset", kind=kind)
    world.kill_kernel()
    world.client.connect()
    assert used(world, kind)[1] == "configuration"


def test_an_unknown_policy_is_refused_with_the_known_ones_and_nothing_changes() -> None:
    world = World()

    refusal = world.client.system("policy_set", kind="turns", name="lottery")

    assert error_name(refusal) == "UnknownPolicyError"
    assert refusal["fields"]["known"] == ", ".join(sorted(POLICIES))
    assert used(world, "turns") == ("fcfs", "configuration")


def test_an_unknown_policy_in_the_configuration_stops_the_start() -> None:
    with pytest.raises(UnknownPolicyError):
        World(turn_policy="lottery")


def test_a_policy_that_an_other_kernel_had_set_and_this_one_lacks_is_ignored_and_counted() -> None:
    world = World()
    world.client.system("policy_set", kind="turns", name="srpt")
    world.core.state.settings.put("turn_policy", "lottery", world.core.state.output.changes)
    world.turn()

    world.kill_kernel()
    world.client.connect()

    assert used(world, "turns")[0] == "fcfs"
    assert world.core.state.statistics()["settings_ignored"] == 1


def test_an_unknown_kind_is_refused() -> None:
    refusal = World().client.system("policy_set", kind="lunch", name="fcfs")

    assert error_name(refusal) == "BadPolicyError"
    assert refusal["fields"]["needs"] == "turns or llm or placement"


def test_agents_may_not_set_policies() -> None:
    world = World()
    agent = world.spawn("agent")
    world.client.tell(agent.id, "go")

    call = agent.system(agent.turn_of("go"), "policy_set", kind="turns", name="srpt")

    assert error_name(agent.answer(call)) == "UnknownCallError"
    assert used(world, "turns")[0] == "fcfs"


@pytest.mark.parametrize("weight", [0, -1, -0.5, 1e-300, 1e308, float("nan"), float("inf")])
def test_a_weight_out_of_range_is_refused_and_nothing_is_spawned(weight: float) -> None:
    world = World()
    spec = {"qualname": "Scripted", "module": "tests", "name": "heavy", "weight": weight}

    refusal = world.client.system("spawn", spec=spec)

    assert error_name(refusal) == "BadPolicyError"
    assert refusal["fields"]["what"] == "weight"
    assert world.client.system("ps") == []


def test_changes_of_policy_lose_and_reorder_no_message() -> None:
    world, numbers = World(turn_slots=1), random.Random(3)
    agents = [world.spawn(f"a{n}") for n in range(6)]
    for number in range(90):
        world.client.tell(numbers.choice(agents).id, f"m{number}", priority=4)

    for _ in range(90):
        world.client.system("policy_set", kind="turns", name=numbers.choice(sorted(POLICIES)))
        open_turns = [(agent, turn) for agent in agents for turn in waiting(world, agent)]
        agent, turn = open_turns[0]
        agent.commit(turn)

    assert world.pending() == 0
    told = sorted(int(method[1:]) for agent in agents for method in agent.methods())
    assert told == list(range(90))
    for agent in agents:
        order = [int(method[1:]) for method in agent.methods()]
        assert order == sorted(order)


def waiting(world: World, agent: ScriptedAgent) -> list[int]:
    return list(world.core.state.actors[agent.id].open)


def test_a_turn_that_waits_to_go_on_goes_on_under_another_policy() -> None:
    world = World(turn_slots=1)
    asker, callee, other = (world.spawn(name) for name in ("asker", "callee", "other"))
    world.introduce(asker, callee)
    world.client.ask(asker.id, "start")
    call = asker.ask(asker.turn_of("start"), callee.id, "serve")
    world.client.tell(other.id, "work")
    callee.commit(callee.turn_of("serve"), reply="done")  # who stood in line has the slot now
    assert asker.answer(call) is None or other.methods() == []

    world.client.system("policy_set", kind="turns", name="deadline")
    if other.methods():
        other.commit(other.turn_of("work"))

    assert asker.answer(call) == "done"


def test_the_record_of_grants_is_kept_while_wanted_and_bounded() -> None:
    world = World()
    agent = world.spawn("agent")
    world.client.system("grants", keep=3)
    for number in range(5):
        world.client.tell(agent.id, f"m{number}", priority=2)
        agent.commit(agent.turn_of(f"m{number}"))

    found = world.client.system("grants")

    assert found["kept"] == 3
    assert [grant["number"] for grant in found["grants"]] == [3, 4, 5]
    assert {(grant["actor"], grant["priority"]) for grant in found["grants"]} == {(agent.id, 2)}
    world.client.system("grants", keep=0)
    assert world.core.state.grants is None
    assert error_name(world.client.system("grants", keep=-1)) == "UsageError"
