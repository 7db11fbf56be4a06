"""The scheduling policies by name, as configuration and the lab know them."""

from __future__ import annotations

from collections.abc import Callable

from ipc.errors import UnknownPolicyError
from kernel.policy.critical_path import CriticalPath
from kernel.policy.deadline_first import DeadlineFirst
from kernel.policy.fair_share import FairShare
from kernel.policy.feedback_queue import FeedbackQueue
from kernel.policy.first_come import FirstCome
from kernel.policy.least_attained import LeastAttained
from kernel.policy.policy import Policy
from kernel.policy.round_robin import RoundRobin
from kernel.policy.shortest_first import ShortestJob, ShortestRemaining
from kernel.policy.strict_priority import StrictPriority

POLICIES: dict[str, Callable[[], Policy]] = {
    "fcfs": FirstCome,
    "sjf": ShortestJob,
    "srpt": ShortestRemaining,
    "priority": StrictPriority,
    "round_robin": RoundRobin,
    "feedback": FeedbackQueue,
    "fair_share": FairShare,
    "deadline": DeadlineFirst,
    "least_attained": LeastAttained,
    "critical_path": CriticalPath,
}

# What the schedulers need to know of a policy besides.
BY_LENGTH = frozenset({"sjf", "srpt"})  # it asks how long a job will be
BY_PATH = frozenset({"critical_path"})  # it asks what came before a job
BY_OWNER = frozenset({"fair_share"})  # an owner's jobs have one key, which moves as one is served
# What a job is given changes no other's place: of one that ends it need not be told.
BY_OWN_SERVICE = frozenset({"srpt", "round_robin", "feedback"})

SUMMARIES: dict[str, str] = {  # what `llmos policy show` says of each
    "fcfs": "first come, first served",
    "sjf": "shortest first, by predicted length",
    "srpt": "shortest remaining time first, by predicted length",
    "priority": "the more urgent first; waiting makes urgent",
    "round_robin": "each in turn",
    "feedback": "who has asked for little first; levels, with a periodic boost",
    "fair_share": "who has had least for their weight first",
    "deadline": "earliest deadline first",
    "least_attained": "whose whole program has had least first",
    "critical_path": "as least_attained, by the longest path of a program's calls",
}


def check_name(name: str) -> None:
    """Raise UnknownPolicyError, which lists the policies there are, if this is none."""
    if name not in POLICIES:
        known = ", ".join(sorted(POLICIES))
        raise UnknownPolicyError(kind="scheduling", name=name, known=known)


def new_policy(name: str) -> Policy:
    """Return a new policy with its usual settings.

    Raises:
        UnknownPolicyError: lists those there are.
    """
    check_name(name)
    return POLICIES[name]()
