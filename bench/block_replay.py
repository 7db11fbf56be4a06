"""Replay block chains through a cache of so many blocks under an eviction policy.

A request finds the cached blocks from its chain's head on; the rest are computed. All of its blocks
are in use until it ends, so room is made from others; a chain longer than the cache is cut. Found
tokens leave at least one to compute, as engines do. Requests follow each other.
"""

from __future__ import annotations

import heapq
import itertools
import random
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass

from bench.request_trace import TimedRequest
from kernel.policy.eviction import EvictionPolicy, Use

TOKENS = 512  # a block
NEVER = 1 << 60


@dataclass(frozen=True, slots=True)
class Chained:
    """A request as the cache sees it."""

    arrival_s: float
    program: str
    chain: tuple[int, ...]
    prompt_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Found:
    """Share of prompt tokens found, over all requests and over the second half of them."""

    whole: float
    second_half: float


def chained(requests: Sequence[TimedRequest], programs: Sequence[str]) -> list[Chained]:
    """Return the requests with their whole blocks only."""
    return [
        Chained(
            each.arrival_s,
            program,
            each.ids[: each.prompt_tokens // TOKENS],
            each.prompt_tokens,
            each.output_tokens,
        )
        for each, program in zip(requests, programs, strict=True)
    ]


def replay_blocks(requests: Sequence[Chained], policy: EvictionPolicy, capacity: int) -> Found:
    """Serve all requests and return what was found."""
    cached: set[int] = set()
    found: list[int] = []
    for each in requests:
        chain = each.chain[:capacity]
        number = sum(1 for _ in itertools.takewhile(cached.__contains__, chain))
        found.append(min(number * TOKENS, each.prompt_tokens - 1))
        own = set(chain)
        over = len(cached | own) - capacity
        if over > 0:
            gone = policy.evict(over, own, each.arrival_s)
            if len(gone) != over or not cached.issuperset(gone) or own.intersection(gone):
                raise AssertionError(f"{policy} gave up {gone}, {over} were asked for")
            cached.difference_update(gone)
        cached |= own
        policy.used(Use(each.arrival_s, each.program, chain, number, each.output_tokens))
        policy.work()
    return shares(requests, found)


def shares(requests: Sequence[Chained], found: Sequence[int]) -> Found:
    half = len(requests) // 2
    tokens = [each.prompt_tokens for each in requests]
    return Found(sum(found) / sum(tokens), sum(found[half:]) / sum(tokens[half:]))


def replay_optimum(requests: Sequence[Chained], capacity: int) -> Found:
    """The same when the block goes whose next use is farthest away (Belady 1966)."""
    next_uses = _next_uses(requests)
    next_use: dict[int, int] = {}  # of cached blocks
    heap: list[tuple[int, int, int]] = []  # -next use, -depth, block
    found: list[int] = []
    for each, upcoming in zip(requests, next_uses, strict=True):
        chain = each.chain[:capacity]
        number = sum(1 for _ in itertools.takewhile(next_use.__contains__, chain))
        found.append(min(number * TOKENS, each.prompt_tokens - 1))
        for depth, (block, use) in enumerate(zip(chain, upcoming, strict=False)):
            next_use[block] = use
            heapq.heappush(heap, (-use, -depth, block))
        own, passed = set(chain), []
        while len(next_use) > capacity:
            entry = heapq.heappop(heap)
            if next_use.get(entry[2]) != -entry[0]:
                continue
            if entry[2] in own:
                passed.append(entry)
            else:
                del next_use[entry[2]]
        for entry in passed:
            heapq.heappush(heap, entry)
    return shares(requests, found)


def _next_uses(requests: Sequence[Chained]) -> list[list[int]]:
    """Return, per request and block, the number of the next request that uses the block."""
    seen: dict[int, int] = {}
    backwards = []
    for number in range(len(requests) - 1, -1, -1):
        chain = requests[number].chain
        backwards.append([seen.get(block, NEVER) for block in chain])
        seen.update(dict.fromkeys(chain, number))
    return backwards[::-1]


DOCUMENT_BLOCKS = 20


def _request(number: int, at_s: float, document: int, answer: int, *, shared: bool) -> Chained:
    """A request on a document, with a block of its own behind it."""
    first = document * DOCUMENT_BLOCKS
    chain = (*range(first, first + DOCUMENT_BLOCKS), (1 << 40) + number)
    program = f"request {number}" if shared else f"document {document}"
    return Chained(at_s, program, chain, len(chain) * TOKENS, answer)


def loop_requests(*, shared: bool, documents: int = 60, rounds: int = 30) -> list[Chained]:
    """Every document in turn, again and again. shared: each request is a program of its own."""
    order = [document for _ in range(rounds) for document in range(documents)]
    return [_request(n, float(n), document, 100, shared=shared) for n, document in enumerate(order)]


def scan_requests(*, shared: bool, number: int = 3000, seed: int = 1) -> list[Chained]:
    """A few documents again and again, and as many that come once."""
    numbers, found, now = random.Random(seed), [], 0.0
    for index in range(number):
        now += numbers.expovariate(1)
        document = numbers.randrange(20) if numbers.random() < 0.5 else 1000 + index
        found.append(_request(index, now, document, 100, shared=shared))
    return found


def shifting_requests(*, shared: bool, number: int = 4000, seed: int = 1) -> list[Chained]:
    """Documents of Zipf popularity, newly ranked every 400 requests."""
    numbers, found, now = random.Random(seed), [], 0.0
    ranks = list(range(200))
    weights = list(itertools.accumulate(1 / (rank + 1) for rank in ranks))
    for index in range(number):
        if index % 400 == 0:
            numbers.shuffle(ranks)
        now += numbers.expovariate(1)
        document = ranks[bisect(weights, numbers.random() * weights[-1])]
        answer = numbers.randint(1, 900)
        found.append(_request(index, now, document, answer, shared=shared))
    return found
