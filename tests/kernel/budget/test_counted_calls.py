"""System calls that cost a unit each: charged before they begin, once, whatever dies."""

from __future__ import annotations

from typing import Any

import pytest

from ext.wire import Envelope
from ipc.errors import from_wire
from ipc.protocol import Flag, Kind
from kernel.budget.counted_calls import CountedCalls
from kernel.syscalls import DEFERRED
from tests.kernel.world import ScriptedAgent, World, body


class ToolWorld(World):
    """A world whose kernels have a tool: it answers at once, or when the test says."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.is_slow = False
        super().__init__(lease_s=1e6)

    def run_tool(self, peer: Any, call: Any, arguments: dict[str, Any]) -> Any:
        self.begun.append(call.id)
        return DEFERRED if self.is_slow else {"made": arguments["what"]}

    def _new_core(self) -> Any:
        # The tool must be there before the core takes up what was under way.
        original = CountedCalls.wrap

        def wrap(counted: CountedCalls, calls: Any) -> Any:
            return original(counted, calls | {"tool_call": (self.run_tool, True)})

        CountedCalls.wrap = wrap  # type: ignore[method-assign]
        try:
            return super()._new_core()
        finally:
            CountedCalls.wrap = original  # type: ignore[method-assign]

    def start(self, **budget: int) -> tuple[ScriptedAgent, int]:
        agent = self.spawn("agent", budget=budget)
        self.client.ask(agent.id, "work")
        return agent, agent.turn_of("work")

    def call(self, agent: ScriptedAgent, turn: int, what: str, flags: int = 0) -> int:
        envelope = Envelope(Kind.ASK, agent.id, 0, body("tool_call", what=what), turn=turn)
        envelope.correlation, envelope.flags = agent.next_correlation(), flags
        envelope.digest = (what.encode() + bytes(16))[:16]
        agent.send(envelope)
        return envelope.correlation

    def used(self) -> int:
        (info,) = self.client.system("budget")
        return int(info["resources"]["tool_calls"]["used"])


@pytest.fixture
def world() -> ToolWorld:
    return ToolWorld()


def test_each_call_costs_one_and_beyond_the_budget_it_waits(world: ToolWorld) -> None:
    agent, turn = world.start(tool_calls=2)
    asked = [world.call(agent, turn, f"{number}") for number in range(3)]
    before = [agent.answer(one) for one in asked], world.used()

    world.client.system("budget_top_up", actor="agent", amounts={"tool_calls": 1})

    assert before == ([{"made": "0"}, {"made": "1"}, None], 2)
    assert agent.answer(asked[2]) == {"made": "2"}
    assert (world.used(), len(world.begun)) == (3, 3)


@pytest.mark.parametrize("limit", [0, 1])
def test_a_call_that_outlives_its_kernel_is_charged_once(world: ToolWorld, limit: int) -> None:
    world.is_slow = True
    agent, turn = world.start(tool_calls=limit)
    asked = world.call(agent, turn, "it")

    world.kill_kernel()
    world.client.connect()
    agent.open = [turn]
    agent.connect()
    after = world.used()
    world.is_slow = False
    world.client.system("budget_top_up", actor="agent", amounts={"tool_calls": 5})

    assert after == limit
    assert world.used() == 1
    assert len(world.begun) == 1 + limit  # what was begun is carried out again
    assert (agent.answer(asked) is not None) == (limit == 0)
    assert world.journal.load()["unpaid"] == {}


def test_with_raise_it_fails_instead_of_waiting(world: ToolWorld) -> None:
    agent, turn = world.start(tool_calls=0)

    asked = world.call(agent, turn, "it", flags=int(Flag.NO_BUDGET_WAIT))

    assert from_wire(agent.answer(asked)).code == 205
    assert world.begun == []


def test_a_call_that_is_cancelled_while_it_waits_is_never_begun(world: ToolWorld) -> None:
    agent, turn = world.start(tool_calls=0)
    asked = world.call(agent, turn, "it")
    agent.send(Envelope(Kind.CANCEL, agent.id, correlation=asked))

    world.client.system("budget_top_up", actor="agent", amounts={"tool_calls": 5})

    assert (world.begun, world.used()) == ([], 0)
    assert world.journal.load()["unpaid"] == {}
