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


def new_policy(name: str) -> Policy:
    """Return a new policy with its usual settings.

    Raises:
        UnknownPolicyError: lists those there are.
    """
    if name not in POLICIES:
        known = ", ".join(sorted(POLICIES))
        raise UnknownPolicyError(kind="scheduling", name=name, known=known)
    return POLICIES[name]()
