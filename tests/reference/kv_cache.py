"""The KV-cache allocator as one would write it with dictionaries: slow, obvious, the oracle.

Content is compared as what it is, the extra key with all tokens up to a block's end; every count
is a recount; a refused call restores a copy of everything. Block numbers are compared too: free
blocks are taken last in, first out, and the lowest number first in a new cache.

Long because it is one class, and an oracle is read from top to bottom.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TypeVar

Result = TypeVar("Result")

DEVICE, HOST = 0, 1
Place = tuple[int, int]  # tier, block


class Refused(Exception):
    """A call that changed nothing; `name` is the class the real allocator raises."""

    def __init__(self, name: str, missing: int | None = None) -> None:
        self.name = name
        self.missing = missing
        super().__init__(name, missing)


def refuse_if(condition: bool, name: str) -> None:
    if condition:
        raise Refused(name)


@dataclass
class Owner:
    quota: list[float]
    floor: list[int]
    is_open: bool = True


@dataclass
class Request:
    owner: int
    extra_key: int
    tokens: list[int] = field(default_factory=list)
    planned: int = 0
    computed: int = 0
    blocks: list[int] = field(default_factory=list)
    tier: int = DEVICE
    busy_step: int = 0


@dataclass
class Holding:
    owner: int
    tier: int
    blocks: list[int]
    until: float


class ReferenceKVCache:
    """See the module head."""

    def __init__(self, size: int, device: int, host: int, max_requests: int, max_tokens: int):
        self.size = size
        self.capacity = [device, host]
        self.max_requests = max_requests
        self.max_tokens = max_tokens
        self.free_blocks = [list(range(n - 1, -1, -1)) for n in self.capacity]
        self.cached: list[list[int]] = [[], []]  # oldest first
        self.content: dict[Place, tuple] = {}  # published blocks
        self.cached_for: dict[Place, int] = {}
        self.owners: dict[int, Owner] = {}
        self.requests: dict[int, Request] = {}
        self.pins: dict[int, Holding] = {}
        self.retired: list[Holding] = []
        self.promised: Counter[int] = Counter()  # blocks by owner, within one plan
        self.completed = 0.0
        self.issued = 0
        self.evictions = [0, 0]

    def all_or_nothing(self, change: Callable[[], Result]) -> Result:
        before = copy.deepcopy(self.__dict__)
        try:
            return change()
        except Refused:
            self.__dict__ = before
            raise

    # What there is

    def holders(self, tier: int, block: int) -> Counter[int]:
        """References by owner."""
        lists = [*self.requests.values(), *self.pins.values(), *self.retired]
        return Counter(
            each.owner for each in lists if each.tier == tier for b in each.blocks if b == block
        )

    def referenced(self, owner: int, tier: int) -> int:
        lists = [*self.requests.values(), *self.pins.values(), *self.retired]
        held = {
            b for each in lists if (each.owner, each.tier) == (owner, tier) for b in each.blocks
        }
        return len(held) + (self.promised[owner] if tier == DEVICE else 0)

    def account(self, owner: int, tier: int) -> tuple[int, int, int, int]:
        """Referenced, alone, pinned, cached."""
        holders = [self.holders(tier, block) for block in range(self.capacity[tier])]
        pinned = {
            b for p in self.pins.values() if (p.owner, p.tier) == (owner, tier) for b in p.blocks
        }
        return (
            sum(owner in each for each in holders),
            sum(set(each) == {owner} for each in holders),
            len(pinned),
            sum(self.cached_for.get((tier, block)) == owner for block in self.cached[tier]),
        )

    def equal_shares(self, tier: int) -> dict[int, Fraction]:
        shares = dict.fromkeys((o for o, owner in self.owners.items() if owner.is_open), Fraction())
        for block in range(self.capacity[tier]):
            holders = self.holders(tier, block)
            for owner in holders:
                shares[owner] = shares.get(owner, Fraction()) + Fraction(1, len(holders))
        return shares

    def available(self, tier: int) -> int:
        return len(self.free_blocks[tier]) + len(self.cached[tier])

    def content_of(self, request: Request, i: int) -> tuple:
        return (request.extra_key, *request.tokens[: (i + 1) * self.size])

    def published(self, tier: int, content: tuple) -> int | None:
        found = [b for (t, b), known in self.content.items() if (t, known) == (tier, content)]
        return found[0] if found else None

    def is_being_computed(self, content: tuple) -> bool:
        return any(
            self.content_of(request, i) == content
            for request in self.requests.values()
            for i in range(
                request.computed // self.size,
                min(request.planned, len(request.tokens)) // self.size,
            )
        )

    def reusable(self, request: Request) -> int:
        return max(len(request.tokens) - 1, 0) // self.size

    def lookup(self, handle: int) -> tuple[int, int]:
        request = self.requests[handle]
        if request.blocks:
            return request.computed, request.planned - request.computed
        contents = [self.content_of(request, i) for i in range(self.reusable(request))]
        cached = 0
        while cached < len(contents) and self.published(DEVICE, contents[cached]) is not None:
            cached += 1
        reach = cached
        while reach < len(contents) and (
            self.published(DEVICE, contents[reach]) is not None
            or self.is_being_computed(contents[reach])
        ):
            reach += 1
        return cached * self.size, (reach - cached) * self.size

    # Owners and requests

    def issue(self) -> int:
        self.issued += 1
        return self.issued

    def check_limits(self, tier: int, quota: float, floor: int, others: int) -> None:
        if floor > quota or others + floor > self.capacity[tier]:
            raise Refused("QuotaContradictionError")

    def floors(self, tier: int, but: int | None = None) -> int:
        return sum(o.floor[tier] for key, o in self.owners.items() if o.is_open and key != but)

    def add_owner(self, quota: float = math.inf, floor: int = 0) -> int:
        self.check_limits(DEVICE, quota, floor, self.floors(DEVICE))
        handle = self.issue()
        self.owners[handle] = Owner([quota, math.inf], [floor, 0])
        return handle

    def set_limits(self, owner: int, quota: float, floor: int, tier: int) -> None:
        self.check_limits(tier, quota, floor, self.floors(tier, owner))
        self.owners[owner].quota[tier] = quota
        self.owners[owner].floor[tier] = floor

    def remove_owner(self, owner: int) -> None:
        refuse_if(any(r.owner == owner for r in self.requests.values()), "OwnerBusyError")
        self.release_pins(lambda pin: pin.owner == owner)
        self.owners[owner].is_open = False

    def open(self, owner: int, tokens: list[int], extra_key: int) -> int:
        refuse_if(len(self.requests) == self.max_requests, "TooManyRequestsError")
        refuse_if(len(tokens) > self.max_tokens, "RequestTooLongError")
        handle = self.issue()
        self.requests[handle] = Request(owner, extra_key, list(tokens))
        return handle

    def append(self, handle: int, tokens: list[int]) -> None:
        request = self.requests[handle]
        refuse_if(len(request.tokens) + len(tokens) > self.max_tokens, "RequestTooLongError")
        request.tokens += tokens

    def truncate(self, handle: int, num_tokens: int) -> None:
        request = self.requests[handle]
        refuse_if(not request.planned <= num_tokens <= len(request.tokens), "CountError")
        del request.tokens[num_tokens:]

    # Taking and giving back

    def take(self, tier: int) -> int:
        if self.free_blocks[tier]:
            return self.free_blocks[tier].pop()
        block = self.cached[tier].pop(0)
        del self.content[tier, block]
        self.evictions[tier] += 1
        return block

    def let_go(self, each: Request | Holding, blocks: list[int]) -> None:
        """Take `blocks` off a list, the last one first."""
        for block in reversed(blocks):
            each.blocks.remove(block)
            if self.holders(each.tier, block):
                continue
            if (each.tier, block) in self.content:
                self.cached[each.tier].append(block)
                self.cached_for[each.tier, block] = each.owner
            else:
                self.free_blocks[each.tier].append(block)

    def retire(self, request: Request, blocks: list[int], last_step: float) -> None:
        """Take blocks from a request, now or when the step has reported."""
        last_step = max(last_step, request.busy_step)
        if last_step <= self.completed:
            self.let_go(request, blocks)
        elif blocks:
            self.retired.append(Holding(request.owner, request.tier, list(blocks), last_step))
            del request.blocks[len(request.blocks) - len(blocks) :]

    def complete(self, step: int) -> None:
        refuse_if(step < self.completed, "StepError")
        self.completed = step
        for holding in [h for h in self.retired if h.until <= step]:
            self.let_go(holding, list(holding.blocks))
            self.retired.remove(holding)

    def join(self, tier: int, block: int) -> None:
        """A published block is about to be held."""
        if block in self.cached[tier]:
            self.cached[tier].remove(block)

    def check_room(
        self,
        owner: int,
        tier: int,
        fresh: int,
        joined: int,
        uncached: int,
        referenced: int,
        available: int,
    ) -> None:
        limits = self.owners[owner]
        after = referenced + fresh + joined
        if after > limits.quota[tier]:
            raise Refused("QuotaExceededError", after - int(limits.quota[tier]))
        reserved = 0
        if after > limits.floor[tier]:
            reserved = sum(
                max(other.floor[tier] - self.referenced(key, tier), 0)
                for key, other in self.owners.items()
                if other.is_open and key != owner
            )
        if fresh + uncached > available - reserved:
            raise Refused("OutOfBlocksError", fresh + uncached - (available - reserved))

    # Steps

    def plan_many(self, handles: list[int], limits: list[int]) -> list[tuple[int, int]]:
        return self.all_or_nothing(lambda: self.plan_now(handles, limits))

    def plan_now(self, handles: list[int], limits: list[int]) -> list[tuple[int, int]]:
        for handle, limit in zip(handles, limits, strict=True):
            self.check_plan(self.requests[handle], limit)
        promises = [self.reserve(self.requests[h], n) for h, n in zip(handles, limits, strict=True)]
        self.promised.clear()
        for handle, (_, count, fresh) in zip(handles, promises, strict=True):
            request = self.requests[handle]
            request.planned += count
            request.blocks += [self.take(DEVICE) for _ in range(fresh)]
        return [(start, count) for start, count, _ in promises]

    def check_plan(self, request: Request, limit: int) -> None:
        refuse_if(limit <= 0 or not request.tokens, "CountError")
        refuse_if(request.tier != DEVICE, "WrongTierError")
        placeholders = request.planned >= len(request.tokens)
        refuse_if(placeholders and request.planned + limit > self.max_tokens, "RequestTooLongError")

    def reserve(self, request: Request, limit: int) -> tuple[int, int, int]:
        """Start, count and new blocks of one request, its cached prefix taken."""
        referenced = self.referenced(request.owner, DEVICE)
        available = self.available(DEVICE) - self.promised.total()
        attached = not request.blocks and self.attach(request)
        start = request.planned
        count = limit
        if start < len(request.tokens):
            count = min(limit, len(request.tokens) - start)
        fresh = -(-(start + count) // self.size) - len(request.blocks)
        if fresh or attached:
            now = self.available(DEVICE) - self.promised.total()
            joined = self.referenced(request.owner, DEVICE) - referenced
            self.check_room(
                request.owner, DEVICE, fresh, joined, available - now, referenced, available
            )
        self.promised[request.owner] += fresh
        return start, count, fresh

    def attach(self, request: Request) -> bool:
        for i in range(self.reusable(request)):
            block = self.published(DEVICE, self.content_of(request, i))
            if block is None:
                break
            self.join(DEVICE, block)
            request.blocks.append(block)
        request.planned = request.computed = len(request.blocks) * self.size
        return bool(request.blocks)

    def mark_computed(self, handle: int, count: int) -> None:
        request = self.requests[handle]
        limit = min(request.planned, len(request.tokens)) - request.computed
        refuse_if(not 0 < count <= limit, "CountError")
        old = request.computed // self.size
        request.computed += count
        for i in range(old, request.computed // self.size):
            self.publish(request, i)

    def publish(self, request: Request, i: int) -> None:
        place = (request.tier, request.blocks[i])
        content = self.content_of(request, i)
        if place not in self.content and self.published(request.tier, content) is None:
            self.content[place] = content

    def rollback(self, handle: int, count: int, last_step: int) -> None:
        request = self.requests[handle]
        refuse_if(not 0 < count <= request.planned - request.computed, "CountError")
        request.planned -= count
        self.retire(request, request.blocks[-(-request.planned // self.size) :], last_step)
        if not request.blocks:
            request.tier, request.busy_step = DEVICE, 0

    def preempt(self, handle: int, last_step: int) -> None:
        request = self.requests[handle]
        self.retire(request, list(request.blocks), last_step)
        request.planned = request.computed = request.busy_step = 0
        request.tier = DEVICE

    def free(self, handle: int, last_step: int) -> None:
        self.preempt(handle, last_step)
        del self.requests[handle]

    # Fork, swap, pin, demote, reset

    def fork(self, handle: int, children: int, step: int, owner: int) -> tuple[list[int], list]:
        return self.all_or_nothing(
            lambda: self.fork_now(self.requests[handle], children, step, owner)
        )

    def fork_now(
        self, parent: Request, children: int, step: int, owner: int
    ) -> tuple[list[int], list]:
        refuse_if(step <= self.completed, "StepError")
        refuse_if(children <= 0, "CountError")
        refuse_if(parent.tier != DEVICE, "WrongTierError")
        refuse_if(len(self.requests) + children > self.max_requests, "TooManyRequestsError")
        full, rest = divmod(parent.computed, self.size)
        shared = parent.blocks[:full]
        joined = sum(owner not in self.holders(DEVICE, block) for block in shared)
        if joined or rest:
            self.check_room(
                owner,
                DEVICE,
                children if rest else 0,
                joined,
                0,
                self.referenced(owner, DEVICE),
                self.available(DEVICE),
            )
        handles, copies = [], []
        for _ in range(children):
            child = Request(
                owner,
                parent.extra_key,
                list(parent.tokens),
                parent.computed,
                parent.computed,
                list(shared),
            )
            if rest:
                child.blocks.append(self.take(DEVICE))
                copies.append((parent.blocks[full], child.blocks[full]))
                child.busy_step = step
                parent.busy_step = max(parent.busy_step, step)
            handles.append(self.issue())
            self.requests[handles[-1]] = child
        return handles, copies

    def swap(self, handle: int, tier: int, step: int) -> list[tuple[int, int]]:
        return self.all_or_nothing(lambda: self.swap_now(self.requests[handle], tier, step))

    def swap_now(self, request: Request, tier: int, step: int) -> list[tuple[int, int]]:
        refuse_if(step <= self.completed, "StepError")
        refuse_if(not request.blocks or request.tier == tier, "WrongTierError")
        full = request.computed // self.size
        existing = [
            self.published(tier, self.content_of(request, i)) if i < full else None
            for i in range(len(request.blocks))
        ]
        known = [block for block in existing if block is not None]
        self.check_room(
            request.owner,
            tier,
            len(existing) - len(known),
            sum(request.owner not in self.holders(tier, block) for block in known),
            sum(block in self.cached[tier] for block in known),
            self.referenced(request.owner, tier),
            self.available(tier),
        )
        sources = list(request.blocks)
        self.retire(request, sources, step if tier == DEVICE else 0)
        for block in known:
            self.join(tier, block)
        request.tier = tier
        request.blocks = [-1 if block is None else block for block in existing]
        copies = []
        for i, block in enumerate(existing):
            if block is None:
                request.blocks[i] = self.take(tier)
                copies.append((sources[i], request.blocks[i]))
                if i < full:
                    self.publish(request, i)
        request.busy_step = max(request.busy_step, step)
        return copies

    def pin(self, handle: int, until: float) -> int:
        request = self.requests[handle]
        blocks, full = [], request.computed // self.size
        for i in range(full):
            found = self.published(request.tier, self.content_of(request, i))
            blocks.append(request.blocks[i] if found is None else found)
        joined = [b for b in blocks if request.owner not in self.holders(request.tier, b)]
        if joined:
            self.check_room(
                request.owner,
                request.tier,
                0,
                len(joined),
                sum(block in self.cached[request.tier] for block in joined),
                self.referenced(request.owner, request.tier),
                self.available(request.tier),
            )
        for i, block in enumerate(blocks):
            self.join(request.tier, block)
            self.publish(request, i)
        pin = self.issue()
        self.pins[pin] = Holding(request.owner, request.tier, blocks, until)
        return pin

    def demote(self, pin: int, step: int) -> list[tuple[int, int]]:
        return self.all_or_nothing(lambda: self.demote_now(pin, step))

    def demote_now(self, pin: int, step: int) -> list[tuple[int, int]]:
        refuse_if(step <= self.completed, "StepError")
        holding = self.pins[pin]
        refuse_if(holding.tier != DEVICE, "WrongTierError")
        contents = [self.content[DEVICE, block] for block in holding.blocks]
        existing = [self.published(HOST, content) for content in contents]
        known = [block for block in existing if block is not None]
        self.check_room(
            holding.owner,
            HOST,
            len(existing) - len(known),
            sum(holding.owner not in self.holders(HOST, block) for block in known),
            sum(block in self.cached[HOST] for block in known),
            self.referenced(holding.owner, HOST),
            self.available(HOST),
        )
        for block in known:
            self.join(HOST, block)
        kept = Holding(holding.owner, HOST, list(known), step)
        self.retired.append(kept)
        copies, blocks = [], []
        for source, content, block in zip(holding.blocks, contents, existing, strict=True):
            if block is None:
                blocks.append(self.take(HOST))
                self.content[HOST, blocks[-1]] = content
                copies.append((source, blocks[-1]))
            else:
                blocks.append(block)
        kept.blocks = blocks
        self.unpin(pin)
        return copies

    def demoted(self, handle: int) -> int:
        request = self.requests[handle]
        if request.blocks:
            return 0
        first = self.lookup(handle)[0] // self.size
        last = first
        while last < self.reusable(request):
            content = self.content_of(request, last)
            if self.published(DEVICE, content) is not None or self.published(HOST, content) is None:
                break
            last += 1
        return last - first

    def promote(self, handle: int, step: int) -> list[tuple[int, int]]:
        return self.all_or_nothing(
            lambda: self.promote_now(self.requests[handle], self.demoted(handle), step)
        )

    def promote_now(self, request: Request, count: int, step: int) -> list[tuple[int, int]]:
        refuse_if(step <= self.completed, "StepError")
        if not count:
            return []
        owner, referenced = request.owner, self.referenced(request.owner, DEVICE)
        available = self.available(DEVICE)
        self.attach(request)
        joined = self.referenced(owner, DEVICE) - referenced
        self.check_room(
            owner,
            DEVICE,
            count,
            joined,
            available - self.available(DEVICE),
            referenced,
            available,
        )
        first = len(request.blocks)
        contents = [self.content_of(request, first + i) for i in range(count)]
        sources = [self.published(HOST, content) for content in contents]
        self.check_room(
            owner,
            HOST,
            0,
            sum(owner not in self.holders(HOST, block) for block in sources),
            sum(block in self.cached[HOST] for block in sources),
            self.referenced(owner, HOST),
            self.available(HOST),
        )
        for block in sources:
            self.join(HOST, block)
        self.retired.append(Holding(owner, HOST, list(sources), step))
        copies = []
        for source, content in zip(sources, contents, strict=True):
            request.blocks.append(self.take(DEVICE))
            self.content[DEVICE, request.blocks[-1]] = content
            copies.append((source, request.blocks[-1]))
        request.planned = request.computed = len(request.blocks) * self.size
        request.busy_step = step
        return copies

    def release_pins(self, is_due: Callable[[Holding], bool]) -> int:
        due = [key for key, pin in self.pins.items() if is_due(pin)]
        for key in due:
            pin = self.pins[key]
            self.let_go(pin, list(pin.blocks))
            del self.pins[key]
        return len(due)

    def unpin(self, pin: int) -> None:
        self.release_pins(lambda each: each is self.pins.get(pin))

    def expire_pins(self, now: int) -> int:
        return self.release_pins(lambda pin: pin.until <= now)

    def evict_first(self, blocks: list[int], tier: int) -> int:
        refuse_if(any(not 0 <= block < self.capacity[tier] for block in blocks), "CountError")
        first = [block for block in dict.fromkeys(blocks) if block in self.cached[tier]]
        self.cached[tier] = first + [b for b in self.cached[tier] if b not in first]
        return sum(block in self.cached[tier] for block in blocks)

    def reset(self, tier: int) -> None:
        for request in self.requests.values():
            if tier in (DEVICE, request.tier):
                request.busy_step = 0
            if request.tier == tier:
                request.blocks = []
                request.planned = request.computed = 0
                request.tier = DEVICE
        if tier == DEVICE:
            self.completed = 0
            self.settle(h for h in self.retired if h.tier == HOST)
        self.retired = [h for h in self.retired if h.tier != tier]
        self.pins = {key: pin for key, pin in self.pins.items() if pin.tier != tier}
        self.content = {place: c for place, c in self.content.items() if place[0] != tier}
        self.cached[tier] = []
        self.free_blocks[tier] = list(range(self.capacity[tier] - 1, -1, -1))

    def settle(self, holdings: Iterable[Holding]) -> None:
        for holding in list(holdings):
            self.let_go(holding, list(holding.blocks))
            self.retired.remove(holding)
