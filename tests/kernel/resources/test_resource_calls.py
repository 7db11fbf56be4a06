"""Resources in the kernel's core: reservations at spawn, looks, operators, kernel crashes."""

from typing import Any

import pytest

from ipc.errors import (
    BadResourceError,
    InfeasibleBudgetError,
    ReservationError,
    UnknownResourceError,
    from_wire,
)
from kernel.output import WeighProcess
from kernel.resources.samples import Samples
from tests.kernel.resources.looks import agent, samples
from tests.kernel.world import World

SPEC = {"target": "m:C", "module": "m", "qualname": "C"}


def look(world: World, seen: Samples) -> None:
    """Give the core a look at the machine, as the daemon does."""
    world.core.begin(world.now_ns, world.now_ns)
    world.core.sampled(seen)
    world.emit(world.core.finish())


@pytest.fixture
def world() -> World:
    world = World()
    look(world, samples(0, memory_bytes=1 << 30))
    return world


def spawn(world: World, name: str, **fields: Any) -> Any:
    """Return the answer of spawn: the actor, or the error."""
    answer = world.client.system("spawn", spec={**SPEC, "name": name, **fields})
    return from_wire(answer) if "code" in answer else answer


def resource(world: World, name: str) -> Any:
    report = world.client.system("resources")
    return next(info for info in report["resources"] if info["name"] == name)


def test_a_reservation_that_does_not_fit_is_refused_and_nothing_is_spawned(world: World) -> None:
    spawn(world, "one", reserve={"cpu": 1500})

    error = spawn(world, "two", reserve={"memory": 1 << 20, "cpu": 700})

    assert isinstance(error, ReservationError)
    assert (error.resource, error.wanted, error.free, error.short) == ("cpu", 700, 500, 200)
    assert [row["name"] for row in world.client.system("ps")] == ["one"]
    assert resource(world, "memory")["taken"] == 0
    assert resource(world, "cpu")["holders"] == {"one": 1500}


def test_termination_gives_a_reservation_back_and_a_stop_keeps_it(world: World) -> None:
    spawn(world, "one", reserve={"cpu": 2000})
    world.client.system("stop", actor="one")
    assert resource(world, "cpu")["taken"] == 2000

    world.client.system("kill", actor="one")

    assert resource(world, "cpu")["taken"] == 0
    assert "actor" in spawn(world, "two", reserve={"cpu": 2000})


def test_reservations_survive_a_kernel_crash(world: World) -> None:
    spawn(world, "one", reserve={"cpu": 1500})

    world.kill_kernel()
    world.client.connect()
    look(world, samples(0, memory_bytes=1 << 30))

    assert resource(world, "cpu")["holders"] == {"one": 1500}
    assert isinstance(spawn(world, "two", reserve={"cpu": 700}), ReservationError)


def test_a_spawn_that_its_budget_refuses_reserves_nothing(world: World) -> None:
    parent = spawn(world, "parent", budget={"tokens": 10})
    answer = world.client.system(
        "spawn",
        parent=parent["actor"],
        spec={**SPEC, "name": "child", "budget": {"tokens": 20}, "reserve": {"cpu": 100}},
    )

    assert isinstance(from_wire(answer), InfeasibleBudgetError)
    assert resource(world, "cpu")["taken"] == 0


def test_an_unknown_resource_is_refused_with_those_there_are(world: World) -> None:
    error = spawn(world, "one", reserve={"tape": 1})

    assert isinstance(error, UnknownResourceError)
    assert "cpu" in error.known


@pytest.mark.parametrize(
    "fields",
    [
        {"reserve": {"cpu": 0}},
        {"reserve": {"cpu": -5}},
        {"reserve": {"cpu": 1 << 61}},
        {"reserve": {"cpu": 600}, "cpu_limit": 500},
        {"reserve": {"memory": 1 << 21}, "rlimits": {"memory_bytes": 1 << 20}},
    ],
)
def test_a_reservation_that_means_nothing_is_refused(world: World, fields: Any) -> None:
    assert isinstance(spawn(world, "one", **fields), BadResourceError)
    assert world.client.system("ps") == []


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"rlimits": {"cpu": 3}}, "rlimits are cpu_s, files, memory_bytes, processes, not 'cpu'"),
        ({"rlimits": {"files": 0}}, "files is 0, and limits are 1 to"),
        ({"max_attempts": -1}, "max_attempts is -1, and limits are 1 to"),
    ],
)
def test_a_limit_that_means_nothing_is_refused_before_a_process_starts(
    world: World, fields: Any, problem: str
) -> None:
    assert problem in str(spawn(world, "one", **fields))
    assert world.client.system("ps") == []


def test_a_reservation_above_the_agents_own_limit_is_refused_in_what_people_write(
    world: World,
) -> None:
    cpu = spawn(world, "one", reserve={"cpu": 1000}, cpu_limit=500)
    memory = spawn(world, "two", reserve={"memory": 3 << 20}, rlimits={"memory_bytes": 3 << 19})

    assert "the agent's limit is 0.5 CPUs, so 1 CPU cannot be reserved for it" in str(cpu)
    assert "the agent's limit is 1.5 MiB, so 3 MiB cannot be reserved for it" in str(memory)


def test_what_operators_change_holds_in_the_next_kernel(world: World) -> None:
    world.client.system("resource_add", name="licence", amount=3)
    world.client.system("resource_remove", name="cpu", amount=500)
    world.client.system("resource_drain", name="memory")
    world.client.system("resource_add", name="turn-slots", amount=6)

    world.kill_kernel()
    world.client.connect()
    look(world, samples(0, memory_bytes=1 << 30))

    assert resource(world, "licence")["capacity"] == 3
    assert resource(world, "cpu")["capacity"] == 1500
    assert resource(world, "memory")["state"] == "draining"
    assert resource(world, "turn-slots")["capacity"] == 70
    assert "actor" in spawn(world, "one", reserve={"licence": 2})


def test_a_change_taken_back_leaves_no_row(world: World) -> None:
    world.client.system("resource_drain", name="cpu")
    world.client.system("resource_add", name="cpu")
    world.client.system("resource_add", name="licence", amount=1)
    world.client.system("resource_remove", name="licence")

    assert world.journal.load().get("resource", {}) == {}


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        ("resource_drain", {"name": "tape"}),
        ("resource_remove", {"name": "tape"}),
        ("resource_remove", {"name": "cpu"}),
        ("resource_remove", {"name": "cpu", "amount": 5000}),
        ("resource_remove", {"name": "turn-slots", "amount": 64}),
        ("resource_drain", {"name": "turn-slots"}),
        ("resource_add", {"name": "cpu", "amount": 1}),
        ("resource_add", {"name": "licence", "amount": -1}),
        ("resource_add", {"name": "a b", "amount": 1}),
    ],
)
def test_what_cannot_be_done_to_a_resource_is_refused_and_changes_nothing(
    world: World, call: str, arguments: dict[str, Any]
) -> None:
    before = world.client.system("resources")["resources"]

    error = from_wire(world.client.system(call, **arguments))

    assert isinstance(error, UnknownResourceError | BadResourceError)
    assert world.client.system("resources")["resources"] == before


def test_more_turn_slots_let_those_in_line_go_on() -> None:
    world = World(turn_slots=1)
    one, two = (world.spawn(name) for name in ("one", "two"))
    world.client.tell(one.id, "go")
    world.client.tell(two.id, "go")
    assert (one.methods(), two.methods()) == (["go"], [])

    world.client.system("resource_add", name="turn-slots", amount=1)

    assert two.methods() == ["go"]


def test_the_report_shows_what_agents_use_and_have_reserved(world: World) -> None:
    actor = spawn(world, "one", reserve={"cpu": 500})["actor"]
    look(world, samples(1, agent(actor, 1, cpu_ns=0), memory_bytes=1 << 30))
    look(world, samples(2, agent(actor, 1, cpu_ns=250_000_000), memory_bytes=1 << 30))

    report = world.client.system("resources")

    (row,) = report["agents"]
    assert (row["name"], row["cpu_millis"], row["reserved"]) == ("one", 250, {"cpu": 500})
    assert report["bottleneck"] is None
    assert {use["name"] for use in report["uses"]} == {"cpu", "memory", "disk"}


def test_the_report_names_the_bottleneck(world: World) -> None:
    look(world, samples(1, memory_bytes=1000, memory_used_bytes=950))

    found = world.client.system("resources")["bottleneck"]

    assert (found["name"], found["share"]) == ("memory", 0.95)


def test_a_sample_of_an_earlier_incarnation_is_left_out(world: World) -> None:
    actor = spawn(world, "one")["actor"]
    look(world, samples(1, agent(actor, 7, cpu_ns=5)))

    assert world.client.system("resources")["agents"] == []


def weights(world: World) -> dict[str, int]:
    """Return the last weight each agent was given, by name."""
    found = [command for command in world.commands if isinstance(command, WeighProcess)]
    return {world.core.state.name_of(command.actor): command.weight for command in found}


def test_agents_get_cpu_weights_by_their_shares(world: World) -> None:
    light, heavy = spawn(world, "light")["actor"], spawn(world, "heavy", weight=3.0)["actor"]
    look(world, samples(1, agent(light), agent(heavy)))

    assert weights(world) == {"light": 50, "heavy": 150}
    rows = world.client.system("resources")["agents"]
    assert {row["name"]: row["cpu_share_millis"] for row in rows} == {"light": 500, "heavy": 1500}


def test_a_reservation_is_a_floor_of_cpu_whatever_others_weigh(world: World) -> None:
    spawn(world, "sure", reserve={"cpu": 1500})
    spawn(world, "heavy", weight=9.0)
    look(world, samples(1))

    assert weights(world) == {"sure": 150, "heavy": 50}


def test_without_weights_and_reservations_nobody_is_weighed(world: World) -> None:
    spawn(world, "one")
    spawn(world, "two", reserve={"memory": 5})
    look(world, samples(1))

    assert weights(world) == {}


def test_when_the_last_weighted_agent_ends_all_weigh_the_same_again(world: World) -> None:
    spawn(world, "light")
    spawn(world, "heavy", weight=3.0)
    look(world, samples(1))
    world.client.system("kill", actor="heavy")
    look(world, samples(2))

    assert weights(world)["light"] == 100
    count = len(world.commands)
    look(world, samples(3))
    assert len(world.commands) == count


def test_each_member_of_a_pool_reserves_and_the_pool_itself_does_not(world: World) -> None:
    spec = {**SPEC, "name": "crew", "reserve": {"cpu": 400}, "weight": 2.0}
    world.client.ask_system("pool_create", spec=spec, minimum=2, maximum=2)

    assert resource(world, "cpu")["taken"] == 800
    assert "crew" not in resource(world, "cpu")["holders"]
    world.kill_kernel()
    world.client.connect()
    look(world, samples(0, memory_bytes=1 << 30))
    assert resource(world, "cpu")["taken"] == 800
