"""Fair share of slots among agents: what one does cannot cost another more than a turn."""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field

import pytest

from ipc.protocol import Kind
from kernel.claims import MIN_WEIGHT
from tests.kernel.world import SECOND, ScriptedAgent, World

MS = 1_000_000
TURN_NS = 10 * MS
START_NS = 2 * SECOND


@dataclass
class Load:
    """Turns of a few agents on one slot, on a virtual clock: who came when, and began when."""

    world: World
    coming: list[tuple[int, int]] = field(default_factory=list)  # (when, actor), a heap
    came_ns: dict[int, int] = field(default_factory=dict)  # by turn
    begun_ns: dict[int, int] = field(default_factory=dict)
    running: list[tuple[int, int, int]] = field(default_factory=list)  # (end, turn, actor)
    served_ns: dict[int, int] = field(default_factory=dict)  # by actor
    seen: dict[int, int] = field(default_factory=dict)  # by actor: grants looked at

    def come(self, agent: ScriptedAgent, times_ns: list[int]) -> None:
        for time_ns in times_ns:
            heapq.heappush(self.coming, (START_NS + time_ns, agent.id))

    def run(self, until_ns: int | None = None) -> None:
        """Let all that comes be done, each turn taking TURN_NS."""
        while self.coming or self.running:
            next_ns = min([event[0] for event in (self.coming + self.running)])
            if until_ns is not None and next_ns >= START_NS + until_ns:
                return
            self.world.now_ns = max(self.world.now_ns, next_ns)
            if self.running and min(self.running)[0] <= next_ns:
                self._end(heapq.heappop(self.running))
            else:
                _, actor = heapq.heappop(self.coming)
                self.world.client.tell(actor, "go")
                self.came_ns[self.world.core.state.counter] = self.world.now_ns
            self._look()

    def _end(self, event: tuple[int, int, int]) -> None:
        _, turn, actor = event
        self.served_ns[actor] = self.served_ns.get(actor, 0) + TURN_NS
        self.world.agent(actor).commit(turn)

    def _look(self) -> None:
        now_ns = self.world.now_ns
        for actor, agent in self.world.agents.items():
            for envelope in agent.got[self.seen.get(actor, 0) :]:
                if envelope.kind == Kind.TELL:
                    self.begun_ns[envelope.message] = now_ns
                    heapq.heappush(self.running, (now_ns + TURN_NS, envelope.message, actor))
            self.seen[actor] = len(agent.got)

    def waits_ns(self, agent: ScriptedAgent) -> list[int]:
        mine = [envelope.message for envelope in agent.granted]
        return sorted(self.begun_ns[turn] - self.came_ns[turn] for turn in mine)


def times(seed: str, each_ns: int, until_ns: int) -> list[int]:
    """Times about `each_ns` apart; no two closer than half of that."""
    numbers, found, now_ns = random.Random(seed), [0], 0
    while now_ns < until_ns:
        now_ns += numbers.randint(each_ns // 2, each_ns * 3 // 2)
        found.append(now_ns)
    return found


def p99(values: list[int]) -> int:
    return values[int(0.99 * len(values))]


def quiet_waits(*, has_greedy: bool) -> list[int]:
    world = World(turn_slots=1, turn_policy="fair_share")
    quiet, greedy = world.spawn("quiet"), world.spawn("greedy")
    load = Load(world)
    load.come(quiet, times("quiet", 50 * MS, 4_000 * MS))
    if has_greedy:
        load.come(greedy, times("greedy", 1 * MS, 4_000 * MS))  # 50 times as many
    load.run(4_000 * MS)
    return load.waits_ns(quiet)


def test_an_agent_waits_for_at_most_one_turn_more_beside_one_that_sends_50_times_as_much() -> None:
    alone, beside = quiet_waits(has_greedy=False), quiet_waits(has_greedy=True)

    assert min(len(alone), len(beside)) > 70
    assert p99(beside) <= p99(alone) + TURN_NS + MS  # a loop turn takes 1 us here


def jain(values: list[float]) -> float:
    return sum(values) ** 2 / (len(values) * sum(value**2 for value in values))


def shares(*, weights: list[float], policy: str = "fair_share") -> list[float]:
    world = World(turn_slots=1, turn_quantum=1, turn_policy=policy)
    agents = [world.spawn(f"a{n}", weight=weight) for n, weight in enumerate(weights)]
    load = Load(world)
    for number, agent in enumerate(agents):
        load.come(agent, [1] * (150 + 50 * number))
    load.run(1_500 * MS)
    return [load.served_ns.get(agent.id, 0) / TURN_NS for agent in agents]


def test_equal_backlogged_agents_get_equal_shares() -> None:
    assert jain(shares(weights=[1.0] * 8)) >= 0.98


def test_backlogged_agents_get_shares_in_the_ratio_of_their_weights() -> None:
    half, one, four = shares(weights=[0.5, 1.0, 4.0])

    assert 0.45 < half / one < 0.55
    assert 3.8 < four / one < 4.2


def test_an_agent_of_the_least_weight_leaves_the_shares_of_others_as_they_were() -> None:
    world = World(turn_slots=1, turn_quantum=1, turn_policy="fair_share")
    light = world.spawn("light", weight=MIN_WEIGHT)
    world.client.tell(light.id, "go")
    world.now_ns += 3_600 * SECOND
    light.commit(light.turn_of("go"))  # an hour counts a thousandfold, and who comes begins there
    load = Load(world)
    one, heavy, heaviest = (world.spawn(f"w{weight}", weight=weight) for weight in (1.0, 4.0, 1e3))
    for agent in (one, heavy, heaviest):
        load.come(agent, [world.now_ns - START_NS] * 200)
    load.run(world.now_ns - START_NS + 3_000 * MS)  # 200 turns are the heaviest's, 100 are left

    assert load.served_ns[heaviest.id] == 200 * TURN_NS
    assert 3.6 < load.served_ns[heavy.id] / load.served_ns[one.id] < 4.4


def test_first_come_lets_no_agent_keep_its_slot_from_those_in_line() -> None:
    assert jain(shares(weights=[1.0] * 4, policy="fcfs")) >= 0.98


def granted_at_once(world: World, agent: ScriptedAgent) -> int:
    for number in range(6):
        world.client.tell(agent.id, f"m{number}")
    return len(agent.granted)


def test_messages_are_granted_ahead_only_where_no_other_agent_can_come_to_want_the_slot() -> None:
    roomy = World(turn_slots=2, turn_policy="fair_share")
    assert granted_at_once(roomy, [roomy.spawn("a"), roomy.spawn("b")][0]) == 6

    narrow = World(turn_slots=1, turn_policy="fair_share")
    assert granted_at_once(narrow, [narrow.spawn("a"), narrow.spawn("b")][0]) == 1


@pytest.mark.parametrize("policy", ["fcfs", "priority"])
def test_an_agent_of_many_turns_takes_no_more_slots_than_there_are(policy: str) -> None:
    world = World(turn_slots=2, turn_policy=policy)
    other = world.spawn("other")
    many = world.spawn("many", declares={"concurrency": 8})
    world.client.tell(other.id, "work")
    granted_at_once(world, many)

    assert world.core.state.slots.used == 2
    other.commit(other.turn_of("work"))
    assert world.core.state.slots.used == 2
    for _ in range(6):
        many.commit(next(iter(world.core.state.actors[many.id].open)))
    assert world.pending() == 0
