"""A request while a scheduler has it: where it stands, and what of it is planned.

Plain data; kernel/llm/batch.py, waiting_line.py and the planner change it.
"""

from __future__ import annotations

from enum import Enum, auto

from kernel.llm.owners import OwnerAccount
from kernel.llm.request import Request


class Place(Enum):
    """Where a task is; exactly one at a time."""

    FRESH = auto()  # in the waiting line, never taken from it
    RETURNED = auto()  # in the waiting line again
    PARKED = auto()  # out of the line until the next report
    AT_QUOTA = auto()  # in the line of its owner, until that may hold more
    SLOT = auto()  # the engine knows it
    DONE = auto()


# Reading a member of an Enum costs some 500 instructions, of a module 10.
FRESH, RETURNED, PARKED, AT_QUOTA, SLOT, DONE = Place


class Task:
    """See the module head.

    order: unique, by arrival.  handle: of its block table in the KV cache.
    known, planned, num_blocks: tokens and blocks while its prompt is computed; not kept up later.
    entered: number of the plan that gave it its slot, once it had one, if it is of a family.
    last_plan: no plan after this one has it; counts only outside a slot.
    told: tokens its policy was told of, cached ones included.
    """

    __slots__ = (
        "account",
        "entered",
        "handle",
        "is_on_host",
        "key",
        "known",
        "last_plan",
        "line_handle",
        "num_blocks",
        "order",
        "place",
        "planned",
        "request",
        "slot",
        "told",
    )

    def __init__(self, request: Request, account: OwnerAccount, handle: int, order: int) -> None:
        self.request = request
        self.account = account
        self.handle = handle
        self.order = order
        self.key = 0.0
        self.place = PARKED
        self.slot = 0
        self.entered = 0
        self.line_handle = 0
        self.known = 0
        self.planned = 0
        self.num_blocks = 0
        self.last_plan = 0
        self.is_on_host = False
        self.told = 0

    @property
    def rank(self) -> tuple[float, int]:
        """Total order of service: the smallest goes first, the greatest is preempted first."""
        return self.key, self.order
