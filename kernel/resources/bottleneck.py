"""Which resource holds the machine back, and since when; pure.

The rules:
  R1  a resource is near its limit from the look that shows NEAR of it used, until one shows less
      than CLEAR. The gap keeps a resource that swings around one mark from coming and going.
  R2  the bottleneck is, of those near their limit, the one of which the largest share is used; of
      equals, the one that has been near for longer.
  R3  a resource whose capacity is not known is never named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kernel.resources.usage import Use

NEAR = 0.9
CLEAR = 0.8


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """A resource near its limit."""

    name: str
    share: float
    since_ns: int  # monotonic


class BottleneckWatch:
    """Remembers since when each resource has been near its limit."""

    def __init__(self) -> None:
        self._since: dict[str, int] = {}

    def update(self, uses: Sequence[Use], now_ns: int) -> Bottleneck | None:
        """Take a look; return the bottleneck, if there is one."""
        before, self._since = self._since, {}
        near = []
        for use in uses:
            share = use.share
            if share is None or share < (CLEAR if use.name in before else NEAR):
                continue
            self._since[use.name] = before.get(use.name, now_ns)
            near.append(Bottleneck(use.name, share, self._since[use.name]))
        return max(near, key=lambda one: (one.share, -one.since_ns), default=None)
