"""500 short-lived agents that all want a slot at once, and who ought to get it.

``Crowd`` and ``Contest`` drive the real core in memory on a virtual clock. ``ReferenceLine`` is the
oracle: a list, and the policy asked for every key at every decision; it shares the policy's code
with the kernel, and nothing of the kernel's line.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from kernel.policy.policy import Job
from kernel.policy.turn_policies import new_turn_policy
from tests.kernel.world import ScriptedAgent, World

US = 1_000
MS = 1_000_000
SLOTS = 2
CLASSES = {"Short": 1 * MS, "Medium": 5 * MS, "Long": 20 * MS}  # how long their turns take
NUM_PROGRAMS = 60


@dataclass
class ReferenceLine:
    """See the module head."""

    name: str
    waiting: dict[int, tuple[Job, int]] = field(default_factory=dict)  # by job: it, its place
    since_ns: dict[int, int] = field(default_factory=dict)
    jobs: dict[int, Job] = field(default_factory=dict)
    num_places: int = 0

    def __post_init__(self) -> None:
        self.policy = new_turn_policy(self.name)

    def arrive(self, job: Job, now_ns: int) -> None:
        self.policy.on_arrival(job, now_ns)
        self.jobs[job.id] = job
        self.stand(job)

    def stand(self, job: Job) -> None:
        self.num_places += 1
        self.waiting[job.id] = (job, self.num_places)

    def take(self, now_ns: int) -> int:
        list(self.policy.rekey(now_ns))
        chosen = min(
            self.waiting,
            key=lambda number: (self.policy.key(self.jobs[number], now_ns), self.place(number)),
        )
        del self.waiting[chosen]
        self.since_ns[chosen] = now_ns
        return chosen

    def place(self, number: int) -> int:
        return self.waiting[number][1]

    def leave(self, number: int, now_ns: int) -> None:
        del self.waiting[number]
        self.policy.on_done(self.jobs.pop(number), now_ns)

    def serve(self, number: int, now_ns: int) -> None:
        tokens = max(1, (now_ns - self.since_ns.pop(number)) // US)
        self.policy.on_service(self.jobs[number], tokens, now_ns)

    def end(self, number: int, now_ns: int) -> None:
        self.policy.on_done(self.jobs.pop(number), now_ns)


class Crowd:
    """A core with agents of a few classes and weights, at rest; contests are held in it."""

    def __init__(self, num_agents: int) -> None:
        numbers = random.Random(5)
        self.world = World(turn_slots=SLOTS)
        self.agents = [
            self.world.spawn(
                f"a{number}",
                qualname=numbers.choice(list(CLASSES)),
                weight=numbers.choice([0.5, 1.0, 4.0]),
            )
            for number in range(num_agents)
        ]
        self.holders = [self.world.spawn(f"holder{number}") for number in range(SLOTS)]
        self.of_actor = {agent.id: agent for agent in self.agents}

    @property
    def now_ns(self) -> int:
        return self.world.core.state.now_ns

    def spec(self, agent: ScriptedAgent) -> dict[str, Any]:
        return dict(self.world.core.state.actors[agent.id].spec)

    def duration_ns(self, agent: ScriptedAgent) -> int:
        return CLASSES[self.spec(agent)["qualname"]]


class Contest:
    """All agents want turns at once, under one policy."""

    def __init__(self, crowd: Crowd, policy: str, *, most_messages: int = 1) -> None:
        self.numbers = random.Random(11)
        self.crowd = crowd
        self.world = crowd.world
        self.most_messages = most_messages
        self.line = ReferenceLine(policy)
        self.jobs: dict[int, Job] = {}
        self.mail: dict[int, list[Job]] = {agent.id: [] for agent in crowd.agents}
        self.expected: list[int] = []  # turns in the order they ought to be given a slot
        self.running: list[tuple[int, int]] = []  # (end, turn)
        self.world.client.system("policy_set", kind="turns", name=policy)
        self._teach()

    def agent_of(self, turn: int) -> ScriptedAgent:
        return self.crowd.of_actor[int(self.jobs[turn].owner)]

    def _teach(self) -> None:
        """A few turns, one after the other: lengths become known, and programs have had some."""
        for number, agent in enumerate(self.crowd.agents[:NUM_PROGRAMS]):
            job = self._tell(agent, number)
            self.line.arrive(job, self.crowd.now_ns)
            assert self.line.take(self.crowd.now_ns) == job.id
            self.world.now_ns += self.crowd.duration_ns(agent)
            self._commit(job.id)
        self.jobs.clear()

    def _tell(self, agent: ScriptedAgent, program: int) -> Job:
        """Send a message with a priority, a deadline and a program; return its job."""
        priority = self.numbers.randint(0, 7)
        deadline_ns = self.numbers.randint(100_000, 200_000) * MS
        trace = (program + 1).to_bytes(16, "big")
        self.world.client.tell(agent.id, "go", priority=priority, deadline=deadline_ns, trace=trace)
        job = Job(
            self.world.core.state.counter,
            program=trace.hex(),
            owner=str(agent.id),
            priority=priority,
            arrival_ns=self.crowd.now_ns,
            deadline_ns=self.crowd.now_ns + deadline_ns,
            predicted_tokens=float(self.crowd.duration_ns(agent) // US),
            weight=self.crowd.spec(agent)["weight"],
        )
        self.jobs[job.id] = job
        return job

    def run(self) -> list[int]:
        """Let all wait, then open the slots; return the turns in the order of their grants."""
        for holder in self.crowd.holders:
            self.world.client.tell(holder.id, "hold")
        for agent in self.crowd.agents:
            self._fill(agent)
        self.world.client.system("grants", keep=10 * len(self.jobs))
        for holder in self.crowd.holders:
            holder.commit(holder.turn_of("hold"))
            self._expect_next()
        while self.running:
            self.running.sort()
            end_ns, turn = self.running.pop(0)
            self.world.now_ns = max(self.world.now_ns, end_ns)
            self._commit(turn)
            self._expect_next()
        grants = self.world.client.system("grants", keep=0)["grants"]
        return [grant["turn"] for grant in grants]

    def _fill(self, agent: ScriptedAgent) -> None:
        mail = self.mail[agent.id]
        for _ in range(self.numbers.randint(1, self.most_messages)):
            mail.append(self._tell(agent, self.numbers.randrange(2 * NUM_PROGRAMS)))
            self._stand(agent)

    def _stand(self, agent: ScriptedAgent) -> None:
        """An agent stands in line with the first message of its mailbox."""
        mail = self.mail[agent.id]
        mail.sort(key=lambda job: (job.priority, job.id))
        standing = [job for job in mail if job.id in self.line.waiting]
        if mail and mail[:1] != standing:
            mail[0].arrival_ns = self.crowd.now_ns
            self._replace(standing, mail[0])

    def _replace(self, standing: list[Job], job: Job) -> None:
        """Of what leaves, a policy is told when the agent's next has come: it was not idle."""
        if self.line.name != "critical_path":
            self.line.arrive(job, self.crowd.now_ns)
        for each in standing:
            self.line.leave(each.id, self.crowd.now_ns)
        if self.line.name == "critical_path":
            self.line.arrive(job, self.crowd.now_ns)

    def _expect_next(self) -> None:
        if not self.line.waiting:
            return
        turn = self.line.take(self.crowd.now_ns)
        self.expected.append(turn)
        agent = self.agent_of(turn)
        self.mail[agent.id] = [job for job in self.mail[agent.id] if job.id != turn]
        self.running.append((self.crowd.now_ns + self.crowd.duration_ns(agent), turn))

    def _commit(self, turn: int) -> None:
        agent = self.agent_of(turn)
        agent.commit(turn)
        self.line.serve(turn, self.crowd.now_ns)
        if self.line.name == "critical_path":  # what comes next may have come of it
            self.line.end(turn, self.crowd.now_ns)
            self._stand(agent)
        else:
            self._stand(agent)
            self.line.end(turn, self.crowd.now_ns)  # an agent with more mail was not idle
