"""The scheduling policies with the settings that fit turns of agents.

A turn's service is the time it holds a slot. The policies count in tokens; here a token is
TOKEN_NS of that time, so what kernel/policy says of tokens holds of microseconds. A turn is never
interrupted: the slot is decided on anew when it ends or waits, whatever quantum a policy names. So
the quanta matter only where they are levels, and these are set for turns of milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from kernel.policy.critical_path import CriticalPath
from kernel.policy.feedback_queue import FeedbackQueue
from kernel.policy.least_attained import LeastAttained
from kernel.policy.policy import Policy
from kernel.policy.policy_names import new_policy

TOKEN_NS = 1_000
FIRST_BOUND = 64_000  # tokens of a program on the first level: 64 ms
QUANTA_TOKENS = (10_000, 40_000, 160_000, 640_000)  # 10 ms on the top level

_WITH_SETTINGS: dict[str, Callable[[], Policy]] = {
    "feedback": partial(FeedbackQueue, QUANTA_TOKENS),
    "least_attained": partial(LeastAttained, token_ns=TOKEN_NS, first_bound=FIRST_BOUND),
    "critical_path": partial(CriticalPath, token_ns=TOKEN_NS, first_bound=FIRST_BOUND),
}


def new_turn_policy(name: str) -> Policy:
    """Return a new policy for turns.

    Raises:
        UnknownPolicyError: lists those there are.
    """
    make = _WITH_SETTINGS.get(name)
    return new_policy(name) if make is None else make()
