"""Priority inheritance along ask chains: what holds up an urgent ask is as urgent till it ends."""

from __future__ import annotations

from itertools import pairwise

import pytest

from ext.wire import Envelope
from ipc.protocol import Kind
from kernel.policy.policy_names import POLICIES
from tests.kernel.llm.engine_world import EngineWorld
from tests.kernel.world import ScriptedAgent, World, body

LOW, MIDDLE, URGENT = 6, 4, 0


class Inversion:
    """One slot. A turn of low priority at `holder` has asked `helper`; middling work hogs."""

    def __init__(self, policy: str = "priority", num_middling: int = 3) -> None:
        self.world = world = World(turn_slots=1, turn_policy=policy)
        self.holder, self.helper, self.hog = (world.spawn(n) for n in ("holder", "helper", "hog"))
        self.middling = [world.spawn(f"middling{number}") for number in range(num_middling)]
        world.introduce(self.holder, self.helper)
        world.client.ask(self.holder.id, "low", priority=LOW)
        world.client.tell(self.hog.id, "hog", priority=MIDDLE)  # waits for the slot
        self.call = self.ask_helper()
        for agent in self.middling:
            world.client.tell(agent.id, "middle", priority=MIDDLE)

    def ask_helper(self) -> int:
        turn = self.holder.turn_of("low")
        return self.holder.ask(turn, self.helper.id, "help", priority=LOW)

    def run(self) -> list[str]:
        """End each turn as it comes; return the order in which turns got the slot."""
        order: list[str] = []
        low = self.holder.turn_of("low")
        seen: dict[int, int] = {}
        answered = False
        while True:
            moved = False
            for agent in [self.hog, self.holder, self.helper, *self.middling]:
                agent = self.world.agent(agent.id)
                for envelope in agent.granted[seen.get(agent.id, 0) :]:
                    seen[agent.id] = seen.get(agent.id, 0) + 1
                    if envelope.message == low:
                        continue  # it waits for its helper
                    order.append(agent.name)
                    agent.commit(envelope.message, reply="ok")
                    moved = True
                if agent is self.holder and not answered and agent.answer(self.call) is not None:
                    answered = moved = True
                    order.append("holder goes on")
                    agent.commit(low, reply="ok")
            if not moved:
                return order


def test_without_an_urgent_ask_middling_work_goes_first() -> None:
    order = Inversion().run()

    assert order.index("middling2") < order.index("helper")


def test_an_urgent_ask_that_comes_later_lifts_the_turn_it_waits_for_and_what_that_waits_for() -> (
    None
):
    inversion = Inversion()
    inversion.world.client.ask(inversion.holder.id, "urgent", priority=URGENT)

    order = inversion.run()

    assert order[:4] == ["hog", "helper", "holder goes on", "holder"]
    assert sorted(order[4:]) == ["middling0", "middling1", "middling2"]


def test_nothing_stays_raised_when_all_is_done() -> None:
    inversion = Inversion()
    urgent = inversion.world.client.ask(inversion.holder.id, "urgent", priority=URGENT)
    inversion.run()

    assert inversion.world.client.answer(urgent) == "ok"
    assert inversion.world.core.state.urgency.is_empty


def test_a_tell_hands_nothing_on() -> None:
    inversion = Inversion()
    inversion.world.client.tell(inversion.holder.id, "urgent", priority=URGENT)

    order = inversion.run()

    assert order.index("middling2") < order.index("helper")


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_under_every_policy_all_is_done(policy: str) -> None:
    inversion = Inversion(policy)
    inversion.world.client.ask(inversion.holder.id, "urgent", priority=URGENT)

    inversion.run()

    assert inversion.world.pending() == 0


def priority_of(world: World, agent: ScriptedAgent) -> int:
    state = world.core.state
    (turn,) = state.actors[agent.id].open.values()
    return state.urgency.of(turn.message)


def chain(world: World, length: int) -> list[ScriptedAgent]:
    """Return agents of which each has asked the next, all at low priority."""
    agents = [world.spawn(f"link{number}") for number in range(length)]
    world.client.ask(agents[0].id, "m0", priority=LOW)
    for number, (agent, following) in enumerate(pairwise(agents)):
        world.introduce(agent, following)
        agent.ask(agent.turn_of(f"m{number}"), following.id, f"m{number + 1}", priority=LOW)
    return agents


def test_a_chain_of_any_length_inherits_to_its_end() -> None:
    world = World()
    agents = chain(world, 1050)  # deeper than a recursion could go

    world.client.ask(agents[0].id, "urgent", priority=1)

    assert {priority_of(world, agent) for agent in agents} == {1}


def test_calls_that_a_raised_turn_makes_later_have_its_priority() -> None:
    world = World()
    first, _, third = chain(world, 3)
    world.client.ask(first.id, "urgent", priority=1)
    fourth = world.spawn("fourth")
    world.introduce(third, fourth)

    third.ask(third.turn_of("m2"), fourth.id, "m3", priority=LOW)

    assert priority_of(world, fourth) == 1


def test_what_stands_before_a_raised_ask_is_hurried_along_in_its_order() -> None:
    world = World(turn_slots=1, turn_policy="priority")
    asker, busy, other = (world.spawn(name) for name in ("asker", "busy", "other"))
    world.introduce(asker, busy)
    world.client.ask(asker.id, "low", priority=LOW)
    world.client.tell(busy.id, "before", priority=LOW)
    call = asker.ask(asker.turn_of("low"), busy.id, "asked", priority=LOW)
    world.client.tell(other.id, "middle", priority=MIDDLE)
    assert busy.methods() == ["before"]

    world.client.ask(asker.id, "urgent", priority=URGENT)
    busy.commit(busy.turn_of("before"))

    assert busy.methods() == ["before", "asked"]  # not `middle`
    busy.commit(busy.turn_of("asked"), reply=1)
    assert asker.answer(call) == 1


def test_the_next_kernel_finds_anew_what_is_inherited() -> None:
    world = World()
    first, second = chain(world, 2)
    world.client.ask(first.id, "urgent", priority=1)
    turns = [first.turn_of("m0"), second.turn_of("m1")]

    world.kill_kernel()
    for agent, turn in zip((first, second), turns, strict=True):
        agent.open = [turn]
        agent.connect()

    assert [priority_of(world, agent) for agent in (first, second)] == [1, 1]


def test_an_llm_request_that_holds_up_an_urgent_ask_goes_before_others() -> None:
    world = EngineWorld()
    world.add_model()
    holder = world.spawn("holder")
    asked = {world.generate(world.client, "first", priority=MIDDLE): "first"}
    engine = world.engine()
    engine.ready(max_running=1)
    engine.listen()
    world.client.ask(holder.id, "low", priority=LOW)
    held_up = generate_in_turn(holder, holder.turn_of("low"), LOW)
    for name in ("middle 1", "middle 2"):
        asked[world.generate(world.client, name, priority=MIDDLE)] = name

    world.client.ask(holder.id, "urgent", priority=URGENT)
    ended: list[str] = []
    while engine.step():
        if holder.answer(held_up) is not None and "held up" not in ended:
            ended.append("held up")
        ended += [
            name
            for call, name in asked.items()
            if world.client.answer(call) is not None and name not in ended
        ]

    assert ended.index("held up") < ended.index("middle 1") < ended.index("middle 2")


def generate_in_turn(agent: ScriptedAgent, turn: int, priority: int) -> int:
    correlation = agent.next_correlation()
    arguments = {"input": {"prompt": "held up"}, "sampling": {"max_tokens": 5}}
    envelope = Envelope(Kind.ASK, agent.id, 0, body("llm_generate", **arguments))
    envelope.turn, envelope.correlation, envelope.digest = turn, correlation, b"g" * 16
    envelope.priority = priority
    agent.send(envelope)
    return correlation


def test_without_an_urgent_ask_that_request_comes_last() -> None:
    world = EngineWorld()
    world.add_model()
    holder = world.spawn("holder")
    world.generate(world.client, "first", priority=MIDDLE)
    engine = world.engine()
    engine.ready(max_running=1)
    engine.listen()
    world.client.ask(holder.id, "low", priority=LOW)
    held_up = generate_in_turn(holder, holder.turn_of("low"), LOW)
    middling = world.generate(world.client, "middle", priority=MIDDLE)

    while world.client.answer(middling) is None:
        assert engine.step()

    assert holder.answer(held_up) is None
