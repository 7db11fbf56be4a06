"""What each owner holds of one engine, and may hold.

The KV cache keeps the exact accounts and refuses what is over a quota; this names its owners. A
quota counts each block that an owner's requests, pins or unreported steps hold, once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ext.kv_cache import KVCache


@dataclass(frozen=True, slots=True)
class OwnerStatistics:
    """One owner at one engine, now."""

    waiting: int
    running: int
    blocks: int


class OwnerAccount:
    """One owner. handle: of the KV cache.

    last_step: when it has reported, blocks of requests of this owner that have ended come free.
    """

    __slots__ = ("handle", "last_step", "live", "owner", "quota", "running")

    def __init__(self, owner: int, handle: int) -> None:
        self.owner = owner
        self.handle = handle
        self.quota: int | None = None
        self.live = 0  # requests the scheduler has
        self.running = 0  # of these, in a slot
        self.last_step = 0


class OwnerBook:
    """All owners of one KV cache."""

    __slots__ = ("_cache", "_owners")

    def __init__(self, cache: KVCache) -> None:
        self._cache = cache
        self._owners: dict[int, OwnerAccount] = {}

    def __iter__(self) -> Iterator[OwnerAccount]:
        return iter(self._owners.values())

    def open(self, owner: int) -> OwnerAccount:
        """Return the owner's account, made now if it is the first time."""
        account = self._owners.get(owner)
        if account is None:
            account = self._owners[owner] = OwnerAccount(owner, self._cache.add_owner())
        return account

    def find(self, owner: int) -> OwnerAccount | None:
        """Return the owner's account if there is one."""
        return self._owners.get(owner)

    def remove(self, account: OwnerAccount) -> None:
        """End an owner that has no requests left; its pins go."""
        self._cache.remove_owner(account.handle)
        del self._owners[account.owner]

    def set_quota(self, account: OwnerAccount, blocks: int | None) -> None:
        """Replace a quota; None: no limit. What is held above it stays until let go."""
        self._cache.set_limits(account.handle, quota=blocks)
        account.quota = blocks

    def blocks(self, account: OwnerAccount) -> int:
        """Return the blocks of the device that an owner holds."""
        return self._cache.account(account.handle).referenced

    def has_room(self, account: OwnerAccount, blocks: int) -> bool:
        """Say whether an owner may take that many blocks more."""
        return account.quota is None or self.blocks(account) + blocks <= account.quota
