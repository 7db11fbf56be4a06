"""The eviction policies by name, as configuration and the lab know them."""

from __future__ import annotations

from collections.abc import Callable

from ipc.errors import UnknownPolicyError
from kernel.policy.eviction import EvictionPolicy
from kernel.policy.eviction_due import Due
from kernel.policy.eviction_guard import Guarded
from kernel.policy.eviction_lfu import LFU
from kernel.policy.eviction_lru import LRU
from kernel.policy.eviction_s3_fifo import S3FIFO

EVICTION_POLICIES: dict[str, Callable[[int], EvictionPolicy]] = {
    "lru": lambda capacity: LRU(),
    "lfu": lambda capacity: LFU(),
    "s3_fifo": lambda capacity: S3FIFO(),
    "due": lambda capacity: Guarded(Due(), capacity),
}


def new_eviction_policy(name: str, capacity: int) -> EvictionPolicy:
    """Return a new policy for a cache of so many blocks.

    Raises:
        UnknownPolicyError: lists those there are.
    """
    if name not in EVICTION_POLICIES:
        known = ", ".join(sorted(EVICTION_POLICIES))
        raise UnknownPolicyError(kind="eviction", name=name, known=known)
    return EVICTION_POLICIES[name](capacity)
