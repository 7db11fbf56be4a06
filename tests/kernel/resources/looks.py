"""Samples made by hand."""

from dataclasses import replace
from typing import Any

from kernel.resources.samples import AgentSample, NodeSample, Samples

SECOND = 1_000_000_000
NODE = NodeSample(
    taken_ns=0,
    cpus=2,
    cpu_millis=2000,
    cpu_busy_ns=0,
    memory_bytes=1000,
    memory_used_bytes=100,
    disk="/d",
    disk_bytes=1000,
    disk_free_bytes=900,
)


def node(at_s: float = 0, **fields: Any) -> NodeSample:
    return replace(NODE, taken_ns=int(at_s * SECOND), **fields)


def agent(actor: int = 5, incarnation: int = 1, **fields: Any) -> AgentSample:
    return replace(AgentSample(actor, incarnation, 0, 4096, 1, 1), **fields)


def samples(at_s: float = 0, *agents: AgentSample, **fields: Any) -> Samples:
    return Samples(node(at_s, **fields), agents)
