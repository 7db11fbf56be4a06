"""How much of each resource of the machine is used, from two looks at it; pure.

Gauges (memory, disk, GPU memory) are of the later look. What has only counters (CPU, network) is
the mean between the looks, smoothed over SMOOTH_NS so that one busy second is no verdict.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from kernel.resources.samples import GpuSample, NetworkSample, NodeSample

SMOOTH_NS = 5_000_000_000


@dataclass(frozen=True, slots=True)
class Use:
    """One resource. Units by kind: cpu thousandths, network bits/s, gpu thousandths, else bytes."""

    name: str  # cpu, memory, disk, network.eth0, gpu.0, gpu.0.memory
    kind: str  # cpu | memory | disk | network | gpu | gpu_memory
    used: float
    capacity: float | None  # None: not known

    @property
    def share(self) -> float | None:
        """Return what part of it is used, 0 to 1 and slightly above."""
        return self.used / self.capacity if self.capacity else None


def measure(before: NodeSample | None, now: NodeSample, smooth: dict[str, float]) -> list[Use]:
    """Return the use of each resource; rates are 0 at the first look.

    smooth: the rates so far, by name; changed.
    """
    elapsed_ns = now.taken_ns - before.taken_ns if before is not None else 0
    rates = dict(_rates(before, now, elapsed_ns)) if before is not None and elapsed_ns > 0 else {}
    weight = 1 - math.exp(-elapsed_ns / SMOOTH_NS)
    for name, rate in rates.items():
        old = smooth.get(name, rate)
        smooth[name] = old + weight * (rate - old)
    for name in smooth.keys() - rates.keys():
        del smooth[name]
    return [
        Use("cpu", "cpu", smooth.get("cpu", 0.0), now.cpu_millis),
        Use("memory", "memory", now.memory_used_bytes, now.memory_bytes),
        Use("disk", "disk", now.disk_bytes - now.disk_free_bytes, now.disk_bytes),
        *(_network(one, smooth) for one in now.networks if one.is_up),
        *(use for gpu in now.gpus for use in _gpu(gpu)),
    ]


def _rates(before: NodeSample, now: NodeSample, elapsed_ns: int) -> list[tuple[str, float]]:
    rates = [("cpu", max(0, now.cpu_busy_ns - before.cpu_busy_ns) / elapsed_ns * 1000)]
    old = {one.name: one for one in before.networks}
    for one in now.networks:
        if one.name in old:
            received = one.received_bytes - old[one.name].received_bytes
            sent = one.sent_bytes - old[one.name].sent_bytes
            # links carry both directions at once: the busier one is what is near its limit
            rates.append((one.name, max(received, sent, 0) * 8e9 / elapsed_ns))
    return rates


def _network(one: NetworkSample, smooth: dict[str, float]) -> Use:
    return Use(f"network.{one.name}", "network", smooth.get(one.name, 0.0), one.bits_per_s)


def _gpu(gpu: GpuSample) -> list[Use]:
    uses = [Use(f"gpu.{gpu.index}.memory", "gpu_memory", gpu.used_bytes, gpu.memory_bytes)]
    if gpu.busy is not None:
        uses.insert(0, Use(f"gpu.{gpu.index}", "gpu", gpu.busy * 1000, 1000))
    return uses
