"""How much memory there is, and how much of it the blocks get.

Policy only: numbers in, numbers out, but for ``available_bytes``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psutil

from actors.torch_engine.settings import Settings

CPU_SHARE = 0.25  # of what is free once the weights are loaded: other processes live here too
CUDA_SHARE = 0.85  # of a GPU; the rest is for activations
HEADROOM = 1.1  # of the weights, while they are loaded
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class PoolSize:
    """Blocks on the device and in host memory."""

    num_blocks: int
    num_host_blocks: int


def available_bytes() -> int:
    """Return what this process may still take: of the machine, or of its control group."""
    free = int(psutil.virtual_memory().available)
    try:
        limit = int((_CGROUP / "memory.max").read_text())
        used = int((_CGROUP / "memory.current").read_text())
    except (OSError, ValueError):  # no such group, or "max"
        return free
    return min(free, max(0, limit - used))


def check_fits(settings: Settings, weight_bytes: int, free_bytes: int) -> None:
    """Raise BadModelError unless the weights and the wanted blocks fit, before any is loaded."""
    wanted = int(weight_bytes * HEADROOM) + settings.kv_bytes + settings.host_kv_bytes
    if wanted > free_bytes:
        raise settings.problem(
            f"it needs {wanted >> 20} MiB (weights {weight_bytes >> 20}); "
            f"{free_bytes >> 20} MiB are free"
        )


def pool_size(
    settings: Settings, *, block_bytes: int, context: int, free_bytes: int, share: float
) -> PoolSize:
    """Return how many blocks to allocate.

    Raises:
        BadModelError: there is no room for a single block.
    """
    most = settings.max_running * -(-context // settings.block_size)
    budget = settings.kv_bytes or int(free_bytes * share)
    blocks = budget // block_bytes if settings.kv_bytes else min(most, budget // block_bytes)
    if blocks < 1:
        raise settings.problem(
            f"a block of {settings.block_size} tokens takes {block_bytes >> 10} KiB; "
            f"{budget >> 10} KiB are there"
        )
    return PoolSize(blocks, settings.host_kv_bytes // block_bytes)
