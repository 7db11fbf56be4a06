"""kernel/llm/drains.py: engines that are added, drained, removed, and that lose their GPU."""

import pytest

from ipc.errors import BadResourceError, EngineDownError, UnknownModelError, from_wire
from kernel.output import Notice
from kernel.resources.samples import GpuSample
from tests.kernel.llm.engine_world import EngineWorld, completion_of
from tests.kernel.resources.looks import samples

GPUS = (GpuSample(0, "a", "n", 100, 0, 0.0), GpuSample(1, "b", "n", 100, 0, 0.0))
FIRST, SECOND = "engine.m.1.1", "engine.m.1.2"


def look(world: EngineWorld, **fields: object) -> None:
    world.core.begin(world.now_ns, world.now_ns)
    world.core.sampled(samples(world.now_ns / 1e9, **fields))
    world.emit(world.core.finish())


def states(world: EngineWorld) -> dict[str, str]:
    report = world.client.system("resources")
    return {info["name"]: info["state"] for info in report["resources"] if info["kind"] == "engine"}


@pytest.fixture
def world() -> EngineWorld:
    world = EngineWorld()
    world.add_model(engines=2)
    world.client.ask_system("model_load", name="m")
    for name in (FIRST, SECOND):
        world.engine(name).ready()
    return world


def test_an_engine_that_drains_ends_what_it_has_and_takes_no_more(world: EngineWorld) -> None:
    first = world.generate(world.client, "One", 4)
    world.engine(FIRST).listen()
    world.client.system("resource_drain", name=FIRST)

    asked = [world.generate(world.client, f"More {number}", 4) for number in range(3)]
    world.engine(FIRST).run()
    assert world.client.answer(first)["text"] == completion_of(b"One", 4)
    assert [world.client.answer(number) for number in asked] == [None] * 3
    world.engine(SECOND).run()

    assert all(world.client.answer(number)["text"] for number in asked)
    assert states(world) == {FIRST: "draining", SECOND: "ready"}


def test_an_engine_is_taken_back_into_service(world: EngineWorld) -> None:
    world.client.system("resource_drain", name=FIRST)
    world.client.system("resource_add", name=FIRST)

    asked = world.generate(world.client, "One", 4)
    world.engine(FIRST).run()

    assert world.client.answer(asked)["text"] == completion_of(b"One", 4)


def test_a_removed_engine_ends_once_it_has_no_work_left(world: EngineWorld) -> None:
    asked = world.generate(world.client, "One", 4)
    world.engine(FIRST).listen()
    world.client.system("resource_remove", name=FIRST)
    look(world)
    assert states(world)[FIRST] == "leaving"

    world.engine(FIRST).run()
    look(world)

    assert world.client.answer(asked)["text"] == completion_of(b"One", 4)
    assert states(world) == {SECOND: "ready"}
    look(world)
    assert world.journal.load().get("resource", {}) == {}


def test_if_all_engines_of_a_model_drain_requests_are_refused(world: EngineWorld) -> None:
    for name in (FIRST, SECOND):
        world.client.system("resource_drain", name=name)

    error = from_wire(world.client.answer(world.generate(world.client, "One", 4)))

    assert isinstance(error, EngineDownError)
    assert "draining" in str(error)


def test_draining_holds_in_the_next_kernel(world: EngineWorld) -> None:
    world.client.system("resource_drain", name=FIRST)

    world.kill_kernel()
    world.client.connect()

    assert states(world)[FIRST] == "draining"


def test_one_more_engine_takes_its_part(world: EngineWorld) -> None:
    info = world.client.system("resource_add", name="engine.m")

    assert info["name"] == "engine.m.1"
    world.engine("engine.m.1").ready()
    asked = [world.generate(world.client, f"One {number}", 4) for number in range(3)]
    for name in (FIRST, SECOND, "engine.m.1"):
        world.engine(name).run()
    assert all(world.client.answer(number)["text"] for number in asked)
    assert world.engine("engine.m.1").computed_tokens > 0


def test_an_engine_of_no_model_is_refused(world: EngineWorld) -> None:
    error = from_wire(world.client.system("resource_add", name="engine.nobody"))

    assert isinstance(error, UnknownModelError)


def test_an_endpoint_has_one_engine(world: EngineWorld) -> None:
    world.client.system("model_add", spec={"name": "far", "endpoint": "http://h/v1"})

    error = from_wire(world.client.system("resource_add", name="engine.far"))

    assert isinstance(error, BadResourceError)


def test_requests_of_a_gpu_that_vanishes_go_on_elsewhere_with_the_same_result(
    world: EngineWorld,
) -> None:
    world.engine(FIRST).ready(device="cuda:0")
    world.engine(SECOND).ready(device="cuda:1")
    look(world, gpus=GPUS)
    asked = world.generate(world.client, "One", 9)
    for _ in range(3):
        world.engine(FIRST).step()

    look(world, gpus=GPUS[1:])
    world.engine(SECOND).run()

    assert world.client.answer(asked)["text"] == completion_of(b"One", 9)
    report = world.client.system("resources")["resources"]
    assert {info["name"]: info["state"] for info in report}["gpu.0"] == "failed"
    assert world.core.statistics()["engines_moved"] == 1
    (notice,) = [command for command in world.commands if isinstance(command, Notice)]
    assert notice.fields == {"resource": "gpu.0", "engines_moved": 1}


def test_a_gpu_that_comes_back_can_be_reserved_again(world: EngineWorld) -> None:
    look(world, gpus=GPUS)
    look(world, gpus=GPUS[1:])
    look(world, gpus=GPUS)

    report = world.client.system("resources")["resources"]

    assert {info["name"]: info["state"] for info in report}["gpu.0"] == "active"
    assert world.core.statistics()["engines_moved"] == 0


def test_an_engine_that_keeps_dying_is_taken_out_and_its_requests_go_on_elsewhere() -> None:
    world = EngineWorld(restart_intensity=2)
    world.add_model(engines=2)
    world.client.ask_system("model_load", name="m")
    for name in (FIRST, SECOND):
        world.engine(name).ready()
    for number in range(3):
        world.engine(FIRST).agent.crash()
        world.advance(1.0)
        if number < 2:
            world.engine(FIRST).ready()

    asked = [world.generate(world.client, f"One {number}", 4) for number in range(3)]
    world.engine(SECOND).run()

    assert states(world) == {FIRST: "quarantined", SECOND: "ready"}
    assert [world.client.answer(number)["text"] for number in asked] == [
        completion_of(f"One {number}".encode(), 4) for number in range(3)
    ]


def test_with_a_gpu_its_engines_drain_and_come_back(world: EngineWorld) -> None:
    world.engine(FIRST).ready(device="cuda")
    world.engine(SECOND).ready(device="cuda:1")
    look(world, gpus=GPUS)
    world.client.system("resource_drain", name="gpu.0")
    assert states(world) == {FIRST: "draining", SECOND: "ready"}

    world.client.system("resource_add", name="gpu.0")

    assert states(world) == {FIRST: "ready", SECOND: "ready"}
