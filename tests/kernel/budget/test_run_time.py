"""CPU and wall time: booked up to the limit, then processes stand still until it is topped up."""

from __future__ import annotations

from typing import Any

import pytest

from ipc.protocol import Kind
from kernel.budget.run_time import HARD_STOP_S
from kernel.output import ContinueProcess, LimitCpu, StartProcess, StopProcess
from kernel.resources.samples import AgentSample, NodeSample, Samples
from tests.kernel.world import ScriptedAgent, World

SECOND = 1_000_000_000
NODE = NodeSample(
    taken_ns=0,
    cpus=2,
    cpu_millis=2000,
    cpu_busy_ns=0,
    memory_bytes=1 << 30,
    memory_used_bytes=0,
    disk="/",
    disk_bytes=1,
    disk_free_bytes=1,
)


@pytest.fixture
def world() -> World:
    return World(restart_intensity=1000, max_attempts=1000, lease_s=1e6)


def look(world: World, *uses: tuple[ScriptedAgent, float]) -> None:
    """One look at the agents: seconds of CPU since each incarnation began."""
    world.now_ns += 1000
    world.core.begin(world.now_ns, world.now_ns)
    agents = tuple(
        AgentSample(one.id, one.incarnation, int(cpu_s * SECOND), 0, 1, 1) for one, cpu_s in uses
    )
    world.core.sampled(Samples(NODE, agents))
    world.emit(world.core.finish())


def resource(world: World, name: str, which: str) -> tuple[float, float]:
    """Return used and overrun, in seconds; checks all accounts besides."""
    world.core.state.budgets.tree.check_integrity()
    (info,) = [info for info in world.client.system("budget") if info["name"] == name]
    found = info["resources"][which]
    return found["used"] / SECOND, found["overrun"] / SECOND


def commands(world: World, kind: type) -> list[Any]:
    return [command for command in world.commands if isinstance(command, kind)]


def top_up(world: World, name: str, **seconds: float) -> None:
    amounts = {key: int(value * SECOND) for key, value in seconds.items()}
    world.client.system("budget_top_up", actor=name, amounts=amounts)


def spawn(world: World, name: str, parent: int | None = None, **seconds: float) -> ScriptedAgent:
    budget = {key: int(value * SECOND) for key, value in seconds.items()}
    return world.spawn(name, parent=parent, **({"budget": budget} if budget else {}))


def test_cpu_time_is_booked_up_to_the_limit_and_the_process_stands_still(world: World) -> None:
    agent = spawn(world, "busy", cpu_s=3)
    look(world, (agent, 1.25))
    before = resource(world, "busy", "cpu_s"), commands(world, StopProcess)

    look(world, (agent, 4.0))

    assert before == ((1.25, 0.0), [])
    assert resource(world, "busy", "cpu_s") == (3.0, 1.0)
    assert [command.actor for command in commands(world, StopProcess)] == [agent.id]
    (info,) = world.client.system("budget")
    assert info["suspended"] == ["cpu_s"]


def test_a_suspended_agent_is_granted_nothing_and_holds_no_slot_until_topped_up(
    world: World,
) -> None:
    agent = spawn(world, "busy", cpu_s=3)
    world.client.ask(agent.id, "first")
    look(world, (agent, 3.0))
    world.client.ask(agent.id, "second")
    suspended = world.core.state.slots.used, agent.methods()

    top_up(world, "busy", cpu_s=1)
    agent.commit(agent.turn_of("first"))

    assert suspended == (0, ["first"])
    assert [command.actor for command in commands(world, ContinueProcess)] == [agent.id]
    assert agent.methods() == ["first", "second"]
    assert world.core.state.slots.used == 1


def test_ps_says_what_a_suspended_agent_waits_for_and_a_top_up_that_it_no_longer_does(
    world: World,
) -> None:
    agent = spawn(world, "busy", cpu_s=3)
    idle = world.client.system("ps")
    look(world, (agent, 3.0))
    suspended = world.client.system("ps")

    (topped_up,) = world.client.system("budget_top_up", actor="busy", amounts={"cpu_s": SECOND})

    shown = [(line["state"], line["waiting_for"]) for line in (*idle, *suspended)]
    assert shown == [("idle", []), ("waiting", ["budget of cpu_s"])]
    assert topped_up["suspended"] == []
    assert [line["state"] for line in world.client.system("ps")] == ["idle"]


def test_a_limit_of_a_parent_stops_all_below_it(world: World) -> None:
    parent = spawn(world, "parent", cpu_s=5)
    child = spawn(world, "child", parent=parent.id)
    other = spawn(world, "other", cpu_s=1)

    look(world, (parent, 2.0), (child, 3.5), (other, 0.5))

    stopped = {command.actor for command in commands(world, StopProcess)}
    assert stopped == {parent.id, child.id}
    assert resource(world, "parent", "cpu_s") == (5.0, 0.0)
    assert resource(world, "child", "cpu_s") == (3.0, 0.5)


def test_the_hard_stop_follows_what_is_left(world: World) -> None:
    agent = spawn(world, "busy", cpu_s=3)
    look(world, (agent, 1.5))
    top_up(world, "busy", cpu_s=10)
    world.client.system("budget_set", actor="busy", limits={"cpu_s": None})

    assert [command.cpu_s for command in commands(world, LimitCpu)] == [
        3 + HARD_STOP_S,
        13 + HARD_STOP_S,
        None,
    ]


def test_the_next_kernel_books_the_rest_and_no_more(world: World) -> None:
    agent = spawn(world, "busy", cpu_s=30)
    look(world, (agent, 4.0))

    world.kill_kernel()
    world.client.connect()
    agent.connect()
    look(world, (agent, 5.5))

    assert resource(world, "busy", "cpu_s") == (5.5, 0.0)


def test_what_a_process_used_before_its_end_is_booked_when_it_is_told(world: World) -> None:
    agent = spawn(world, "busy", cpu_s=30)
    look(world, (agent, 4.0))
    world.core.begin(world.now_ns, world.now_ns)
    world.core.process_exited(agent.id, agent.incarnation, "signal 9", int(4.75 * SECOND))
    world.emit(world.core.finish())

    look(world, (world.agent(agent.id), 0.5))

    assert resource(world, "busy", "cpu_s") == (5.25, 0.0)


def test_without_time_left_a_crashed_agent_is_not_started_again_until_topped_up(
    world: World,
) -> None:
    agent = spawn(world, "busy", cpu_s=3)
    look(world, (agent, 3.0))
    starts = len(commands(world, StartProcess))

    agent.crash()
    world.advance(5)
    held = len(commands(world, StartProcess)), world.core.state.actors[agent.id].status.value
    top_up(world, "busy", cpu_s=2)

    assert held == (starts, "backoff")
    assert len(commands(world, StartProcess)) == starts + 1
    assert world.core.state.actors[agent.id].status.value == "running"


def test_a_stopped_process_is_not_taken_for_lost_by_the_next_kernel(world: World) -> None:
    agent = spawn(world, "busy", cpu_s=3)
    look(world, (agent, 3.0))

    world.kill_kernel()
    world.client.connect()
    world.advance(60)
    held = world.core.state.actors[agent.id].incarnation, len(commands(world, StopProcess))
    top_up(world, "busy", cpu_s=2)
    agent.connect()

    assert held == (1, 2)
    assert [command.incarnation for command in commands(world, ContinueProcess)] == [1]
    assert world.core.state.actors[agent.id].status.value == "running"
    assert resource(world, "busy", "cpu_s") == (3.0, 0.0)


def test_wall_time_runs_while_processes_do_and_stops_them_to_the_millisecond(
    world: World,
) -> None:
    parent = spawn(world, "parent", wall_s=10)
    spawn(world, "child", parent=parent.id)
    world.advance(4.5)
    early = resource(world, "parent", "wall_s"), commands(world, StopProcess)
    world.advance(5.5)

    used, overrun = resource(world, "parent", "wall_s")
    assert 8.9 <= early[0][0] <= 9.1
    assert early[1] == []
    assert used == 10.0
    assert overrun < 0.002
    assert len(commands(world, StopProcess)) == 2
    world.advance(20)
    assert resource(world, "parent", "wall_s")[1] == overrun


def test_wall_time_goes_on_after_a_top_up(world: World) -> None:
    spawn(world, "agent", wall_s=2)
    world.advance(10)
    top_up(world, "agent", wall_s=3)
    world.advance(2)

    used, _ = resource(world, "agent", "wall_s")
    assert 3.9 < used < 4.1
    assert len(commands(world, ContinueProcess)) == 1


def test_stopping_an_agent_that_stands_still_ends_it_at_once(world: World) -> None:
    agent = spawn(world, "busy", cpu_s=1)
    look(world, (agent, 1.0))

    world.client.system("stop", actor="busy")

    assert world.core.state.actors[agent.id].status.value == "stopped"
    assert Kind.STOP not in agent.kinds()


def test_a_terminated_agent_leaves_its_time_to_its_parent_and_no_waiter(world: World) -> None:
    parent = spawn(world, "parent", cpu_s=5)
    child = spawn(world, "child", parent=parent.id, cpu_s=2)
    look(world, (parent, 0.5), (child, 2.0))

    world.client.system("kill", actor="child")

    assert resource(world, "parent", "cpu_s") == (2.5, 0.0)
    assert len(world.core.state.budgets.lines) == 0
    assert world.core.state.budgets.stopped == {}


def test_a_time_budget_set_on_an_agent_that_runs_counts_from_then_on(world: World) -> None:
    agent = spawn(world, "busy")
    look(world, (agent, 100.0))
    world.client.system("budget_set", actor="busy", limits={"cpu_s": 5 * SECOND})
    look(world, (agent, 101.0))
    look(world, (agent, 103.0))

    assert resource(world, "busy", "cpu_s") == (2.0, 0.0)
