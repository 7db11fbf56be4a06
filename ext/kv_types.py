"""What the KV-cache allocator answers: plain frozen records."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Tier(IntEnum):
    """Where blocks are."""

    DEVICE = 0
    HOST = 1


class Lookup(NamedTuple):
    """What a plan would find."""

    cached_tokens: int
    computing_tokens: int  # that many more, once the steps under way have reported


class LookupBatch(NamedTuple):
    """`Lookup` of each request of a batch."""

    cached_tokens: NDArray[np.int32]
    computing_tokens: NDArray[np.int32]


class Planned(NamedTuple):
    """One planned stretch of a request: tokens [start, start + num_tokens)."""

    start: int
    num_tokens: int


class PlannedBatch(NamedTuple):
    """A planned step, one entry per request in the order of the call."""

    rows: NDArray[np.int32]  # row of the request in `block_tables`
    starts: NDArray[np.int32]  # position of the first planned token
    num_tokens: NDArray[np.int32]  # tokens planned
    num_blocks: NDArray[np.int32]  # blocks in the row
    num_new: NDArray[np.int32]  # of these, the last that many are new blocks


class Fork(NamedTuple):
    """Children of a request and what the engine must copy for them."""

    children: NDArray[np.int64]
    copies: NDArray[np.int32]  # (n, 2): source and destination, device blocks


@dataclass(frozen=True, slots=True)
class RequestState:
    """Where a request stands."""

    owner: int
    tier: Tier
    num_tokens: int  # known
    planned: int
    computed: int
    num_blocks: int


@dataclass(frozen=True, slots=True)
class Account:
    """Blocks of one owner in one tier, exact at the instant of the call."""

    referenced: int  # held by its requests, pins and unreported steps, each block once
    alone: int  # of these, held by nobody else
    pinned: int  # of these, under a pin
    cached: int  # held by nobody, let go by this owner last
    quota: int | None
    floor: int


@dataclass(frozen=True, slots=True)
class TierOccupancy:
    """Blocks of one tier by place."""

    capacity: int
    held: int
    cached: int
    free: int
    evictions: int  # cached blocks given to others, since creation


@dataclass(frozen=True, slots=True)
class Statistics:
    """Counters since creation and occupancy now."""

    lookup_tokens: int  # tokens of requests when they first took blocks
    hit_tokens: int  # of these, found in the cache
    hit_blocks: int
    miss_blocks: int  # full blocks that could have been found
    fork_copies: int
    swap_out_copies: int
    swap_in_copies: int
    demote_copies: int  # blocks of pins, to the host
    promote_copies: int  # and back, for requests that begin
    preemptions: int
    num_requests: int
    num_pins: int
    num_retired: int  # groups of blocks that wait for a step to report
    num_prefixes: int  # distinct full blocks known
    device: TierOccupancy
    host: TierOccupancy
    owners: dict[int, tuple[Account, Account]]  # by owner: device, host
