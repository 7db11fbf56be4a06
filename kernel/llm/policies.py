"""Who is served first: a key per request, the smallest first; equal keys by arrival.

Pure choice: a policy holds no queue and no clock. The scheduler asks for a request's key when it
is added, preempted or changes its priority, and when the policy says that it has changed. A
request is preempted to let another in only if its key is greater and the policy lets it be, so a
policy that gives all requests one key preempts nobody but for lack of memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from kernel.llm.request import Request
from kernel.policy.estimate import Estimate


class Policy(Protocol):
    """What the scheduler asks.

    margin: how much greater than a waiting request's key a running one's must be to give way.
    is_by_owner: all requests of an owner have one key, whose changes ``rekey_owners`` tells.
    """

    @property
    def margin(self) -> float: ...

    @property
    def is_by_owner(self) -> bool: ...

    def on_arrival(self, job: Request, now_ns: int) -> None:
        """Learn of a new request; its key is asked next."""
        ...

    def key(self, job: Request, now_ns: int) -> float:
        """Return where a request stands: smaller is served first."""
        ...

    def estimate(self, job: Request) -> Estimate | None:
        """Return how long its completion is expected to be; None: nobody can tell yet."""
        ...

    def may_preempt(self, waiting: Request, running: Request) -> bool:
        """Say whether a running request of a greater key may be preempted to admit this one."""
        ...

    def rekey(self, now_ns: int) -> Iterable[int]:
        """Return the ids of requests whose key has changed since it was last asked."""
        ...

    def rekey_owners(self, now_ns: int) -> Iterable[tuple[int, float]]:
        """Return owners whose key has changed since this was asked, and it; ask ``rekey`` first."""
        ...

    def on_service(self, job: Request, tokens: int, now_ns: int) -> None:
        """Learn that a request was given tokens, prompt included; told now and then."""
        ...

    def on_done(self, job: Request, now_ns: int) -> None:
        """Learn that a request has ended, however it did."""
        ...


class KeyPolicy:
    """A policy whose keys depend on nothing but the request as it was accepted."""

    __slots__ = ("_key", "margin")

    is_by_owner = False

    def __init__(self, key: Callable[[Request], float]) -> None:
        self._key = key
        self.margin = 0.0

    def on_arrival(self, job: Request, now_ns: int) -> None:
        pass

    def key(self, job: Request, now_ns: int) -> float:
        return self._key(job)

    def estimate(self, job: Request) -> Estimate | None:
        return None

    def may_preempt(self, waiting: Request, running: Request) -> bool:
        return True

    def rekey(self, now_ns: int) -> Iterable[int]:
        return ()

    def rekey_owners(self, now_ns: int) -> Iterable[tuple[int, float]]:
        return ()

    def on_service(self, job: Request, tokens: int, now_ns: int) -> None:
        pass

    def on_done(self, job: Request, now_ns: int) -> None:
        pass


def fcfs() -> Policy:
    """First come, first served; priorities do not count."""
    return KeyPolicy(lambda _: 0.0)


def priority() -> Policy:
    """Strict priority, 0 first; first come, first served within one."""
    return KeyPolicy(lambda job: float(job.priority))
