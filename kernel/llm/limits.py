"""What one engine can hold, and what costs it less, as it says itself when it is ready.

Cost: nothing after construction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ipc.engine import EngineFacts
from ipc.errors import BadFrameError


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """The facts the scheduler plans by; see ipc/engine.py EngineFacts."""

    block_size: int
    num_blocks: int
    max_context: int
    max_step_tokens: int
    max_running: int
    vocab_size: int
    num_host_blocks: int = 0
    recompute_ns_per_token: float = 0.0
    swap_ns_per_block: float = 0.0

    def blocks_for(self, num_tokens: int) -> int:
        """Return how many blocks hold so many tokens."""
        return -(-num_tokens // self.block_size)

    @property
    def max_request_tokens(self) -> int:
        """Prompt and completion of one request: the context, or all blocks there are.

        The last token of a completion is never computed, so it needs no place in a block.
        """
        held = self.num_blocks * self.block_size + 1
        return held if held < self.max_context else self.max_context


def is_swap_cheaper(
    limits: EngineLimits, *, computed_tokens: int, blocks: int, chance: float = 1.0
) -> bool:
    """Say whether copying blocks out and in again takes less time than computing them again.

    chance: how likely it is that they are needed again; they are copied out in any case.
    """
    if not (limits.num_host_blocks and limits.swap_ns_per_block and limits.recompute_ns_per_token):
        return False
    swap_ns = (1 + chance) * blocks * limits.swap_ns_per_block
    return swap_ns < chance * computed_tokens * limits.recompute_ns_per_token


MAX_FACT = (1 << 31) - 1  # plans count in int32
NEEDED = (
    "block_size",
    "num_blocks",
    "max_context",
    "max_step_tokens",
    "max_running",
    "vocab_size",
)


def limits_of(facts: EngineFacts) -> EngineLimits:
    """Return the limits an engine states.

    Raises:
        BadFrameError: a fact is missing, or is no number that can be planned with.
    """
    needed: dict[str, Any] = {name: facts.get(name) for name in NEEDED}
    for name, value in needed.items():
        if type(value) is not int or not 1 <= value <= MAX_FACT:
            raise BadFrameError(reason=f"an engine's {name} is {value!r}")
    rates = facts.get("recompute_ns_per_token", 0.0), facts.get("swap_ns_per_block", 0.0)
    host = facts.get("num_host_blocks", 0)
    if (
        type(host) is not int
        or not 0 <= host <= MAX_FACT
        or not all(0.0 <= rate < 1e18 for rate in rates)
    ):
        raise BadFrameError(reason="an engine's host blocks and rates are not negative")
    # A step has at least one token for each request, so that each running one goes on in it.
    needed["max_running"] = min(needed["max_running"], needed["max_step_tokens"])
    return EngineLimits(
        **needed,
        num_host_blocks=host,
        recompute_ns_per_token=float(rates[0]),
        swap_ns_per_block=float(rates[1]),
    )
