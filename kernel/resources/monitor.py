"""Looks at the machine and at agents' processes in a thread, beside the kernel's loop.

The loop calls ``exchange`` once a second: it takes the last look, if there is a new one, and says
which processes the next one is about. So a look is at most a second old, and the loop is woken no
more often than it was.

Invariants:
  I1  looking costs at most MAX_SHARE of one CPU over time: after a look that took long, the next
      one waits. With a few agents there is a look a second; with thousands, every few seconds.
  I2  a look that fails is counted and logged once a kind; the next one is tried all the same.

Cost on the loop: under 20 us a second, and what the core does with the samples.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from kernel.host.structured_log import structlog
from kernel.resources.process_sampler import Root
from kernel.resources.samples import AgentSample, NodeSample, Samples

MAX_SHARE = 0.005
CLOSE_S = 2.0

log = structlog.get_logger(__name__)


class NodeLook(Protocol):
    """kernel/resources/node_sampler.py, or a fake."""

    def sample(self) -> NodeSample:
        """Return one look at the machine."""
        ...


class ProcessLook(Protocol):
    """kernel/resources/process_sampler.py, or a fake."""

    def sample(
        self, roots: Sequence[Root], gpu_bytes: Mapping[int, int] | None = None
    ) -> tuple[AgentSample, ...]:
        """Return one look at the agents."""
        ...


class Monitor:
    """One thread, from the first ``exchange`` to ``close``."""

    def __init__(
        self,
        node: NodeLook,
        processes: ProcessLook,
        *,
        gpu_bytes: Callable[[], Mapping[int, int] | None] = lambda: None,
        monotonic_ns: Callable[[], int],
        cpu_ns: Callable[[], int] = time.thread_time_ns,
    ) -> None:
        """gpu_bytes: by pid. cpu_ns: the calling thread's CPU time."""
        self._node = node
        self._processes = processes
        self._gpu_bytes = gpu_bytes
        self._monotonic_ns = monotonic_ns
        self._cpu_ns = cpu_ns
        self._wanted = threading.Event()
        self._roots: Sequence[Root] = ()
        self._result: Samples | None = None
        self._not_before_ns = 0
        self._is_closing = False
        self._problems: set[str] = set()
        self._thread: threading.Thread | None = None

    def exchange(self, roots: Callable[[], Sequence[Root]]) -> Samples | None:
        """Return a look that has not been returned before; have the next one taken if it is time.

        roots: asked for only then.
        """
        result, self._result = self._result, None
        if self._monotonic_ns() >= self._not_before_ns and not self._wanted.is_set():
            self._roots = roots()
            self._wanted.set()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="monitor", daemon=True)
                self._thread.start()
        return result

    def close(self) -> None:
        """End the thread after the look it is at; one that hangs (a driver's) ends with us."""
        self._is_closing = True
        self._wanted.set()
        if self._thread is not None:
            self._thread.join(CLOSE_S)

    def look(self, roots: Sequence[Root]) -> Samples | None:
        """Take one look now; None if the machine itself cannot be read (I2)."""
        before_ns = self._cpu_ns()
        try:
            node = self._node.sample()
            agents = self._processes.sample(roots, self._gpu_bytes())
        except Exception as error:  # the boundary of the thread: a look is not worth a kernel
            self._note(f"{type(error).__name__}: {error}")
            node, agents = None, ()
        cost_ns = self._cpu_ns() - before_ns
        self._not_before_ns = self._monotonic_ns() + int(cost_ns / MAX_SHARE)  # I1
        return Samples(node, agents, cost_ns) if node is not None else None

    def _run(self) -> None:
        while True:
            self._wanted.wait()
            if self._is_closing:
                return
            self._result = self.look(self._roots)
            self._wanted.clear()

    def _note(self, problem: str) -> None:
        if problem not in self._problems:
            self._problems.add(problem)
            log.warning("resources_unreadable", problem=problem)
