"""What was seen of the machine and of the agents' processes at one moment.

Leaf: data only. It is made outside the core (kernel/resources/monitor.py) and is an input of it,
so that the core stays deterministic: ``Core.sampled``.

Counters (``cpu_ns``, ``*_bytes`` of traffic) only grow; rates are differences between two samples
(kernel/resources/board.py). What could not be read is None, never 0.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AgentSample:
    """The process tree of one incarnation of an agent: its process and all descendants."""

    actor: int
    incarnation: int
    cpu_ns: int  # since the incarnation began; never falls, also when a descendant has ended
    rss_bytes: int  # summed over the tree; pages that are shared count once a process
    threads: int
    processes: int
    pss_bytes: int | None = None  # shared pages count in parts; looked at in turns
    read_bytes: int | None = None  # from storage, since the incarnation began
    written_bytes: int | None = None
    gpu_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class NetworkSample:
    """One network interface."""

    name: str
    is_up: bool
    bits_per_s: int | None  # what the link can carry
    received_bytes: int
    sent_bytes: int


@dataclass(frozen=True, slots=True)
class GpuSample:
    """One GPU."""

    index: int  # the driver's number, which a lost GPU keeps until the machine restarts
    uuid: str
    name: str
    memory_bytes: int
    used_bytes: int
    busy: float | None  # 0 to 1: share of the recent past in which a kernel ran


@dataclass(frozen=True, slots=True)
class NodeSample:
    """The machine, as far as this kernel may use it (affinity and control group respected)."""

    taken_ns: int  # monotonic
    cpus: int  # that processes may run on
    cpu_millis: int  # capacity in thousandths of a CPU: the CPUs, or a smaller quota
    cpu_busy_ns: int  # time that these CPUs have worked, whoever for
    memory_bytes: int  # of the machine, or a smaller limit
    memory_used_bytes: int
    disk: str  # the file system that holds the journal, by the directory asked about
    disk_bytes: int
    disk_free_bytes: int
    read_bytes: int | None = None  # of all disks
    written_bytes: int | None = None
    networks: tuple[NetworkSample, ...] = ()
    gpus: tuple[GpuSample, ...] = ()


@dataclass(frozen=True, slots=True)
class Samples:
    """One look. ``agents``: those whose process was there, in the order of their ids."""

    node: NodeSample
    agents: tuple[AgentSample, ...] = ()
    cost_ns: int = 0  # CPU time of the look itself
