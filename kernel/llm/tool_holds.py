"""Contexts of programs whose tools are out: for how long, and on which engine, they are held.

Stands between kernel/policy/hold_time.py, which learns how long tools take, and the schedulers of
engines, which hold (kernel/llm/holds.py). A program is a session, or else the calls of one owner in
one program. Nothing is journaled: a hold is a cache, gone with its engine or the kernel.

Cost: a dictionary look-up a request, O(blocks) more for one that ends with calls of tools.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable

from kernel.llm.request import Request
from kernel.llm.scheduler import Scheduler
from kernel.policy.hold_time import HoldTimes

MAX_HELD = 10_000  # programs; of older ones it is forgotten where they are held
WAITING_S = 60.0  # held at most for a program that is back and stands in line
REFILL_S = 20.0  # where an engine has not said how fast it computes


class ToolHolds:
    """See the module head.

    most_s: nothing is held longer; 0: nothing at all.  scheduler_of: of an engine, by its number,
    if it has one now.
    """

    __slots__ = ("_most_s", "_scheduler_of", "_where", "times")

    def __init__(
        self,
        most_s: float,
        scheduler_of: Callable[[int], Scheduler | None],
        times: HoldTimes | None = None,
    ) -> None:
        self._most_s = most_s
        self._scheduler_of = scheduler_of
        self.times = times or HoldTimes()
        self._where: OrderedDict[str, int] = OrderedDict()  # engine

    def end(
        self, request: Request, engine: int, who: str, tools: Iterable[str], now_ns: int
    ) -> None:
        """A program's completion has ended, with calls of these tools, if any."""
        self.forget(who)
        names = " ".join(sorted(set(tools)))
        scheduler = self._scheduler_of(engine)
        if not (names and self._most_s and scheduler is not None):
            return
        self.times.leave(who, names, request.call_site, now_ns / 1e9)
        hold_s = self.times.hold_s(names, request.call_site, scheduler.refill_s or REFILL_S)
        until_ns = now_ns + int(min(hold_s, self._most_s) * 1e9)
        if until_ns > now_ns and scheduler.hold(who, request, until_ns):
            self._where[who] = engine
            if len(self._where) > MAX_HELD:
                self._where.popitem(last=False)
        else:
            scheduler.demote(request, self.times.chance(names, request.call_site))

    def come(self, who: str, now_ns: int) -> None:
        """A program asks for a completion: what it left is held until that has ended."""
        if not self._most_s:
            return
        self.times.come_back(who, now_ns / 1e9)
        scheduler = self._scheduler_of(self._where.get(who, 0))
        if scheduler is not None:
            scheduler.extend_hold(who, now_ns + int(WAITING_S * 1e9))

    def forget(self, who: str) -> None:
        """Hold nothing for a program any more."""
        scheduler = self._scheduler_of(self._where.pop(who, 0))
        if scheduler is not None:
            scheduler.release_hold(who)
