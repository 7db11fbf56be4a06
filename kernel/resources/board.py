"""The last looks at machine and agents, and what follows from two of them; pure.

Part of the core's state: not journaled, empty until the first look of a kernel.

Cost: O(agents) a look, about 2 us each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from kernel.resources.bottleneck import Bottleneck, BottleneckWatch
from kernel.resources.samples import AgentSample, NodeSample, Samples
from kernel.resources.usage import Use, measure


@dataclass(frozen=True, slots=True)
class AgentUse:
    """An agent's last sample, and its rates since the one before."""

    sample: AgentSample
    cpu_millis: float = 0.0  # thousandths of a CPU
    read_per_s: float = 0.0
    written_per_s: float = 0.0


@dataclass(slots=True)
class Board:
    """See the module head."""

    node: NodeSample | None = None
    uses: list[Use] = field(default_factory=list)
    bottleneck: Bottleneck | None = None
    agents: dict[int, AgentUse] = field(default_factory=dict)  # by actor
    cost_ns: int = 0  # of the last look
    _watch: BottleneckWatch = field(default_factory=BottleneckWatch)
    _smooth: dict[str, float] = field(default_factory=dict)

    def take(self, samples: Samples, is_current: Callable[[int, int], bool]) -> None:
        """Take a look. is_current: of (actor, incarnation); others are left out."""
        now, before = samples.node, self.node
        elapsed_ns = now.taken_ns - before.taken_ns if before is not None else 0
        self.uses = measure(before, now, self._smooth)
        self.bottleneck = self._watch.update(self.uses, now.taken_ns)
        self.agents = {
            sample.actor: _use_of(sample, self.agents.get(sample.actor), elapsed_ns)
            for sample in samples.agents
            if is_current(sample.actor, sample.incarnation)
        }
        self.node, self.cost_ns = now, samples.cost_ns


def _use_of(now: AgentSample, before: AgentUse | None, elapsed_ns: int) -> AgentUse:
    if before is None or before.sample.incarnation != now.incarnation or elapsed_ns <= 0:
        return AgentUse(now)
    old = before.sample
    return AgentUse(
        now,
        cpu_millis=(now.cpu_ns - old.cpu_ns) * 1000 / elapsed_ns,
        read_per_s=_grown(old.read_bytes, now.read_bytes) * 1e9 / elapsed_ns,
        written_per_s=_grown(old.written_bytes, now.written_bytes) * 1e9 / elapsed_ns,
    )


def _grown(before: int | None, now: int | None) -> int:
    return 0 if before is None or now is None else max(0, now - before)
