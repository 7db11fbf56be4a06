"""Who gets which part of the CPUs when all want them, as weights the operating system takes; pure.

The share is weighted max-min fair (kernel/policy/max_min.py): a reservation is its floor, a limit
its cap, the spec's ``weight`` its weight. The operating system's scheduler gives busy processes
what idle ones leave, in proportion to the same numbers; so the floors hold whoever is busy, as long
as they fit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from ipc.protocol import SpawnSpec
from kernel.policy.max_min import Claim, max_min

USUAL = 100  # the weight of an agent that asks for nothing
MAX_WEIGHT = 10_000
WEIGHT_UNITS = 1000  # the spec's weight 1.0
_NICE_STEP = 1.25  # what one step of niceness changes the weight by


def claim_of(spec: SpawnSpec) -> Claim:
    """Return what an agent asks of the CPUs, in thousandths of one."""
    weight = round(spec.get("weight", 1.0) * WEIGHT_UNITS)
    return Claim(
        weight=min(max(weight, 1), 1 << 40),
        floor=spec.get("reserve", {}).get("cpu", 0),
        cap=spec.get("cpu_limit"),
    )


def is_weighted(spec: SpawnSpec) -> bool:
    """Say whether an agent asks for another part of the CPUs than all others."""
    return claim_of(spec) != Claim(WEIGHT_UNITS)


def cpu_shares(capacity: int, claims: Mapping[int, Claim]) -> dict[int, int]:
    """Return the share of each, in thousandths of a CPU.

    Where the floors exceed the capacity (it has shrunk), each floor gives way in proportion.
    """
    floors = sum(claim.floor for claim in claims.values())
    fitting = [
        claim
        if floors <= capacity
        else Claim(claim.weight, claim.floor * capacity // floors, claim.cap)
        for claim in claims.values()
    ]
    return dict(zip(claims, max_min(capacity, fitting, resource="cpu"), strict=True))


def to_weights(shares: Mapping[int, int]) -> dict[int, int]:
    """Return weights in the shares' proportions; the mean is USUAL, each 1 to MAX_WEIGHT."""
    total = sum(shares.values())
    if not total:
        return dict.fromkeys(shares, USUAL)
    scale = USUAL * len(shares) / total
    return {key: min(max(round(share * scale), 1), MAX_WEIGHT) for key, share in shares.items()}


def to_nice(weight: int) -> int:
    """Return the niceness whose weight is nearest: 0 for USUAL, -20 to 19."""
    steps = round(math.log(weight / USUAL) / math.log(_NICE_STEP))
    return min(max(-steps, -20), 19)
