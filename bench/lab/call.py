"""One LLM call of a workload: when it comes, whose it is, how long it is, what it shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ipc.protocol import DEFAULT_PRIORITY

OWN = 1 << 30  # token ids from here on are of one call only
MAX_GROUPS = OWN


@dataclass(frozen=True, slots=True)
class Call:
    """See the module head.

    prefix: (group, tokens) from the start of the prompt: two calls share exactly their equal
            leading pairs. What the pairs do not cover is shared with nobody.
    parents: calls of its program whose results it needs.
    outcome: done, failed or cancelled, when it was recorded; then it had got `output_tokens`.
    """

    number: int
    arrival_ns: int
    prompt_tokens: int
    output_tokens: int
    program: int
    owner: int
    call_site: str = ""
    prefix: tuple[tuple[int, int], ...] = ()
    priority: int = DEFAULT_PRIORITY
    outcome: str = "done"
    parents: tuple[int, ...] = ()

    def tokens(self) -> NDArray[np.int32]:
        """Return token ids for the prompt: equal where, and only where, content is shared."""
        ids = np.full(self.prompt_tokens, OWN + self.number, np.int32)
        if self.prefix:
            groups, lengths = np.array(self.prefix, np.int32).T
            shared = np.repeat(groups, lengths)[: self.prompt_tokens]
            ids[: len(shared)] = shared
        return ids


def scaled(calls: Sequence[Call], factor: float) -> list[Call]:
    """Return the calls with every gap between arrivals multiplied."""
    return [replace(each, arrival_ns=round(each.arrival_ns * factor)) for each in calls]
