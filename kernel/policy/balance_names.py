"""The balancing policies by name, as pools of agents and models with several engines know them."""

from __future__ import annotations

import random
from collections.abc import Callable

from ipc.errors import UnknownPolicyError
from kernel.policy.balance import Balancer
from kernel.policy.balance_least_outstanding import LeastOutstanding
from kernel.policy.balance_prefix import PrefixAffinity
from kernel.policy.balance_response_time import LeastResponseTime
from kernel.policy.balance_round_robin import RoundRobin
from kernel.policy.balance_skill import SkillMatch
from kernel.policy.balance_two_choices import TwoChoices

BALANCERS: dict[str, Callable[[random.Random], Balancer]] = {
    "round_robin": lambda rng: RoundRobin(),
    "least_outstanding": lambda rng: LeastOutstanding(),
    "response_time": lambda rng: LeastResponseTime(),
    "p2c": TwoChoices,
    "prefix": lambda rng: PrefixAffinity(),
    "skill": SkillMatch,
}


SUMMARIES: dict[str, str] = {
    "round_robin": "each in turn",
    "least_outstanding": "who has least to do",
    "response_time": "who would answer first, by recent times",
    "p2c": "of two drawn by chance who has less to do",
    "prefix": "who has most of the beginning at hand, unless far too busy",
    "skill": "who declares the skill, and has done it best",
}


def check_balancer(name: str) -> None:
    """Raise UnknownPolicyError, which lists the policies there are, if this is none."""
    if name not in BALANCERS:
        known = ", ".join(sorted(BALANCERS))
        raise UnknownPolicyError(kind="balancing", name=name, known=known)


def new_balancer(name: str, rng: random.Random) -> Balancer:
    """Return a new policy with its usual settings. rng: where it takes chance from.

    Raises:
        UnknownPolicyError: lists those there are.
    """
    check_balancer(name)
    return BALANCERS[name](rng)
