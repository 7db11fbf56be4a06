"""What the KV-cache allocator refuses, as typed errors with fields.

Built-ins stand below every class, since `ext` imports nothing of ours: the kernel maps them to its
own. Every error here means: nothing was changed.
"""

from __future__ import annotations


class KVCacheError(Exception):
    """Base of all refusals of the allocator."""


class UnknownHandleError(KVCacheError, LookupError):
    """A handle that this cache did not issue, or whose request, owner or pin has ended."""

    def __init__(self, kind: str, handle: int, index: int = 0) -> None:
        self.kind = kind
        self.handle = handle
        self.index = index
        super().__init__(f"no open {kind} with handle {handle:#x} (position {index} of the call)")


class UnknownRequestError(UnknownHandleError):
    """Freed already, or of another cache."""


class UnknownOwnerError(UnknownHandleError):
    """Removed already, or of another cache."""


class UnknownPinError(UnknownHandleError):
    """Released, expired or voided already, or of another cache."""


class KVUsageError(KVCacheError, ValueError):
    """The call cannot be meant: fix the calling code."""


class RepeatedRequestError(KVUsageError):
    """One batch names a request twice."""

    def __init__(self, request: int, index: int) -> None:
        self.request = request
        self.index = index
        super().__init__(f"request {request:#x} comes a second time at position {index}")


class CountError(KVUsageError):
    """A number that is zero or negative, or more than there is to act on."""

    def __init__(self, what: str, value: int, limit: int, handle: int = 0, index: int = 0) -> None:
        self.what = what
        self.value = value
        self.limit = limit
        self.handle = handle
        self.index = index
        super().__init__(f"{what} is {value}, the limit is {limit} (position {index} of the call)")


class RequestTooLongError(CountError):
    """More tokens than a request of this cache may have."""


class StepError(CountError):
    """A step that has reported already, or reports out of order."""


class WrongTierError(KVUsageError):
    """The request's blocks are not in the tier this operation works on, or it has none."""

    def __init__(self, request: int, index: int = 0) -> None:
        self.request = request
        self.index = index
        super().__init__(f"the blocks of request {request:#x} are not in the tier this call needs")


class OwnerBusyError(KVUsageError):
    """The owner has open requests."""

    def __init__(self, owner: int, num_requests: int) -> None:
        self.owner = owner
        self.num_requests = num_requests
        super().__init__(f"owner {owner:#x} still has {num_requests} open requests")


class QuotaContradictionError(KVUsageError):
    """A floor above its quota, or floors above what the tier has."""

    def __init__(self, *, quota: int | None, floor: int, floors: int, capacity: int) -> None:
        self.quota = quota
        self.floor = floor
        self.floors = floors
        self.capacity = capacity
        super().__init__(
            f"floor {floor} with quota {quota}: all floors would be {floors} of {capacity} blocks"
        )


class KVExhaustedError(KVCacheError):
    """Not now: free, preempt, swap or wait, then try again."""


class TooManyRequestsError(KVExhaustedError):
    """``max_requests`` requests are open."""

    def __init__(self, needed: int, available: int, limit: int) -> None:
        self.needed = needed
        self.available = available
        self.limit = limit
        super().__init__(f"{needed} more requests needed, {available} of {limit} left")


class BlocksError(KVExhaustedError):
    """Blocks are missing: ``missing`` more would have done for the request at ``index``."""

    reason = "available"

    def __init__(
        self,
        *,
        request: int,
        index: int,
        owner: int,
        tier: int,
        needed: int,
        available: int,
        reserved: int,
        limit: int,
    ) -> None:
        self.request = request
        self.index = index
        self.owner = owner
        self.tier = tier
        self.needed = needed
        self.available = available
        self.reserved = reserved
        self.limit = limit
        self.missing = needed - (available - reserved)
        super().__init__(
            f"request {request:#x} (position {index}) needs {needed} blocks of tier {tier}, "
            f"{available} {self.reason} of {limit}, {reserved} kept for the floors of others"
        )


class OutOfBlocksError(BlocksError):
    """The tier has too few free and evictable blocks, floors of other owners counted."""


class QuotaExceededError(BlocksError):
    """The owner would reference more than its quota."""

    reason = "left in the owner's quota"


class IntegrityError(KVCacheError, AssertionError):
    """`check_integrity` found a broken invariant: a bug of ours."""

    def __init__(self, invariant: int) -> None:
        self.invariant = invariant
        super().__init__(f"invariant I{invariant} of ext/kv_core.pxd is broken")
