"""What a scheduling policy is told of waiting work, and what it answers: keys, smaller first.

A scheduler holds jobs (LLM requests, or agents that want a turn) in a queue ordered by keys; equal
keys leave in the order of arrival. It tells the policy what arrives, is served and ends, and asks
for a job's key when the job enters the queue: at arrival, and again each time it comes back after a
slice. Keys of jobs that are in the queue change only through `rekey`, which the scheduler asks
between decisions, once per epoch; so a decision costs a queue operation, whatever the policy. Or an
owner's jobs all have one key, which changes as one of them is served (BY_OWNER in
kernel/policy/policy_names.py): then the scheduler moves them all, and `rekey` names none.

Promise of every policy: the same calls give the same answers. Time is a parameter, nothing is
random, and `key` changes nothing. A finished job is forgotten: what a policy keeps of one is in the
job's `note`. A decision costs a call of each of its functions (bench/turn_policies.py).
The policies by name are in kernel/policy/policy_names.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from ext.job import Job as Job
from ipc.errors import BadPolicyError

# A level of a queue of levels; below it there is room for 2^43 places within a level.
LEVEL = float(1 << 43)


class Policy(Protocol):
    """See the module head.

    margin: how much greater than a waiting job's key a running one's must be for it to give way.
    """

    @property
    def margin(self) -> float: ...

    def on_arrival(self, job: Job, now_ns: int) -> None:
        """Take note of a new job; its key is asked next.

        Raises:
            BadPolicyError: what the job says of itself is not possible. It is not known then.
        """

    def key(self, job: Job, now_ns: int) -> float:
        """Return the job's place: smaller is served first."""

    def quantum_tokens(self, job: Job) -> int | None:
        """Return after how many tokens the job goes back into the queue; None: when it ends."""

    def on_service(self, job: Job, tokens: int, now_ns: int) -> None:
        """Take note that the job was given so many tokens' work."""

    def on_done(self, job: Job, now_ns: int) -> None:
        """Take note that the job has ended, or was cancelled."""

    def rekey(self, now_ns: int) -> Iterable[int]:
        """Return the ids of jobs whose keys have changed since they were asked."""


class Unchanging:
    """A policy whose keys stay as they are: it learns nothing from what is served."""

    __slots__ = ()

    margin = 0.0

    def on_arrival(self, job: Job, now_ns: int) -> None:
        """See ``Policy``."""

    def quantum_tokens(self, job: Job) -> int | None:
        """See ``Policy``."""
        return None

    def on_service(self, job: Job, tokens: int, now_ns: int) -> None:
        """See ``Policy``."""

    def on_done(self, job: Job, now_ns: int) -> None:
        """See ``Policy``."""

    def rekey(self, now_ns: int) -> Iterable[int]:
        """See ``Policy``."""
        return ()


def need_positive(policy: str, what: str, value: float) -> None:
    """Refuse a setting or a field that is not above 0.

    Raises:
        BadPolicyError: it is 0, negative or no number.
    """
    if not value > 0:
        raise BadPolicyError(policy=policy, what=what, value=value, needs="above 0")
