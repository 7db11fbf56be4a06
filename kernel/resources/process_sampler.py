"""What the process trees of agents have used.

A tree is found by parents: agents are subreapers, so a descendant that "daemonised" is still one.

Promise: ``cpu_ns`` of an incarnation never falls. A process that ends takes its time with it
unless its parent waits for it; the sampler remembers what the tree has had, so that only what a
descendant uses between its last look and its end, if nobody waits for it, is missed.

Cost: the process table, and about 12 us a process of an agent. The proportional set size is dear:
one agent a look, in turns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from kernel.resources.process_table import (
    ProcessTable,
    Row,
    exact_cpu_ns,
    read_io,
    read_pss_bytes,
)
from kernel.resources.samples import AgentSample

Identity = tuple[int, int]  # actor, incarnation


class Root(NamedTuple):
    """The process of an incarnation."""

    actor: int
    incarnation: int
    pid: int
    start_time: int


@dataclass(slots=True)
class _Memory:
    """What is remembered of an incarnation between looks."""

    seen_ns: int = 0  # what the living tree showed at the last look
    lost_ns: int = 0  # what has disappeared from it
    seen_io: tuple[int, int] = (0, 0)
    lost_io: tuple[int, int] = (0, 0)
    pss_bytes: int | None = None


class ProcessSampler:
    """Remembers, by incarnation, what the next look is compared with."""

    def __init__(self, read_table: Callable[[], ProcessTable] = ProcessTable.read) -> None:
        self._read_table = read_table
        self._memory: dict[Identity, _Memory] = {}
        self._turn = 0

    def sample(
        self, roots: Sequence[Root], gpu_bytes: Mapping[int, int] | None = None
    ) -> tuple[AgentSample, ...]:
        """Look at the agents; one whose process is gone is left out.

        gpu_bytes: by pid; None: there is no GPU.
        """
        living = {(root.actor, root.incarnation) for root in roots}
        self._memory = {key: value for key, value in self._memory.items() if key in living}
        if not roots:
            return ()
        table = self._read_table()
        self._turn += 1
        samples = []
        for number, root in enumerate(sorted(roots)):
            tree = table.tree(root.pid, root.start_time)
            if tree:
                is_turn = number == self._turn % len(roots)
                samples.append(self._sample(root, tree, gpu_bytes, is_turn=is_turn))
        return tuple(samples)

    def _sample(
        self, root: Root, tree: list[Row], gpu_bytes: Mapping[int, int] | None, *, is_turn: bool
    ) -> AgentSample:
        memory = self._memory.setdefault((root.actor, root.incarnation), _Memory())
        if is_turn:
            memory.pss_bytes = _sum_known([read_pss_bytes(row.pid) for row in tree])
        io = self._io(memory, tree)
        return AgentSample(
            actor=root.actor,
            incarnation=root.incarnation,
            cpu_ns=self._cpu_ns(memory, tree),
            rss_bytes=sum(row.rss_bytes for row in tree),
            threads=sum(row.threads for row in tree),
            processes=len(tree),
            pss_bytes=memory.pss_bytes,
            read_bytes=io[0] if io else None,
            written_bytes=io[1] if io else None,
            gpu_bytes=sum(gpu_bytes.get(row.pid, 0) for row in tree) if gpu_bytes else None,
        )

    def _cpu_ns(self, memory: _Memory, tree: list[Row]) -> int:
        now_ns = sum(exact_cpu_ns(row) + row.reaped_ns for row in tree)
        memory.lost_ns += max(0, memory.seen_ns - now_ns)
        memory.seen_ns = now_ns
        return now_ns + memory.lost_ns

    def _io(self, memory: _Memory, tree: list[Row]) -> tuple[int, int] | None:
        known = [io for io in (read_io(row.pid) for row in tree) if io is not None]
        if not known:
            return None
        now = (sum(read for read, _ in known), sum(written for _, written in known))
        lost = tuple(
            old + max(0, seen - new)
            for old, seen, new in zip(memory.lost_io, memory.seen_io, now, strict=True)
        )
        memory.seen_io, memory.lost_io = now, (lost[0], lost[1])
        return now[0] + lost[0], now[1] + lost[1]


def _sum_known(values: list[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
