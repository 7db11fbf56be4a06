"""kernel/resources/monitor.py with samplers made by hand."""

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from kernel.resources.monitor import Monitor
from kernel.resources.process_sampler import Root
from kernel.resources.samples import AgentSample, NodeSample
from tests.kernel.resources.looks import SECOND, agent, node

ROOT = Root(5, 1, 100, 7)


class Looks:
    """Fake samplers and clocks; ``cost_ns`` is what a look takes of the thread's CPU time."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.cost_ns = 0
        self.used_ns = 0
        self.asked: list[Sequence[Root]] = []
        self.problem: Exception | None = None
        self.done = threading.Semaphore(0)

    def node(self) -> NodeSample:
        if self.problem is not None:
            raise self.problem
        return node(self.now_ns / SECOND)

    def agents(
        self, roots: Sequence[Root], gpu_bytes: Mapping[int, int] | None = None
    ) -> tuple[AgentSample, ...]:
        self.used_ns += self.cost_ns
        self.asked.append(roots)
        self.done.release()
        return tuple(agent(root.actor, root.incarnation) for root in roots)

    def monitor(self) -> Monitor:
        node_look: Any = type("Node", (), {"sample": lambda _: self.node()})()
        agent_look: Any = type("Agents", (), {"sample": lambda _, *words: self.agents(*words)})()
        return Monitor(
            node_look,
            agent_look,
            monotonic_ns=lambda: self.now_ns,
            cpu_ns=lambda: self.used_ns,
        )


def test_a_look_is_returned_once_and_is_about_the_processes_asked_for() -> None:
    looks = Looks()
    monitor = looks.monitor()
    assert monitor.exchange(lambda: [ROOT]) is None
    looks.done.acquire()
    while (found := monitor.exchange(list)) is None:
        pass

    assert [sample.actor for sample in found.agents] == [5]
    monitor.close()
    assert looks.asked[0] == [ROOT]


def test_looking_costs_at_most_half_a_percent_of_a_cpu() -> None:
    looks = Looks()
    monitor = looks.monitor()
    looks.cost_ns = SECOND // 50  # 20 ms: a look every 4 s
    asked: list[int] = []

    def roots() -> list[Root]:
        asked.append(looks.now_ns // SECOND)
        return [ROOT]

    for second in range(12):
        looks.now_ns = second * SECOND
        before = len(asked)
        monitor.exchange(roots)
        if len(asked) > before:
            looks.done.acquire()
            while monitor._wanted.is_set():
                pass

    monitor.close()
    assert asked == [0, 4, 8]


def test_a_look_that_fails_is_no_look_and_the_next_one_is_tried() -> None:
    looks = Looks()
    monitor = looks.monitor()
    looks.problem = OSError("no /proc here")
    assert monitor.look([ROOT]) is None
    looks.problem = None

    found = monitor.look([ROOT])

    assert found is not None
    assert found.node.cpus == 2


def test_closing_without_a_look_ends_no_thread() -> None:
    Looks().monitor().close()
