"""Who gets the next slot, by a scheduling policy: agents that want a turn, and turns that go on.

A **job** is a turn: the next message of an agent that may run it but for the slot, until the turn
has ended. It arrives when it comes to stand in line, so that waiting for one's own agent is not
waiting for a slot. An agent stands in line with the first message of its mailbox, whose order is
not the policy's. Its owner is the agent; its weight is the agent's; its program is that of the
message (kernel/program.py). Its **service** is the time it holds a slot, in tokens of TOKEN_NS, at
least one a stretch. Its quantum is the turn, or what is left of it when its wait is over: a turn is
never interrupted, and each slot that comes free is decided on anew.

What it is not: the line itself and its invariants (ext/turn_line.pyx), how long a turn will be
(ext/turn_lengths.pyx), how many slots there are (kernel/slots.py), what may be granted
(kernel/delivery.py).

Cost: O(log waiting) a decision in Cython, beside what the policy's own calls cost
(bench/turn_policies.py). Owner: the core's loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ext.turn_lengths import TurnLengths
from ext.turn_line import TurnLine
from kernel.policy.policy import Policy, Unchanging
from kernel.policy.policy_names import BY_LENGTH, BY_OWN_SERVICE, BY_OWNER, BY_PATH
from kernel.policy.turn_policies import TOKEN_NS, new_turn_policy


class TurnOrder(TurnLine):
    """See the module head."""

    def __init__(self, name: str) -> None:
        """Raises: UnknownPolicyError: lists the policies there are."""
        policy = new_turn_policy(name)
        self.name = name
        self.is_by_path = name in BY_PATH
        super().__init__(
            key=policy.key,
            on_arrival=_needed(policy, "on_arrival"),
            on_service=_needed(policy, "on_service"),
            on_done=_needed(policy, "on_done"),
            rekey=None if name in BY_OWNER else _needed(policy, "rekey"),
            lengths=TurnLengths() if name in BY_LENGTH else None,
            token_ns=TOKEN_NS,
            tells_at_once=self.is_by_path,  # what it has told others comes after it
            tells_last=name not in BY_OWN_SERVICE,
            is_by_owner=name in BY_OWNER,
        )

    def standing(self) -> tuple[list[int], list[int]]:
        """Return the calls and the actors that wait, each in the order of the line."""
        line = self.in_order()
        calls = [seat.call for seat in line if seat.call]
        return calls, [seat.owner for seat in line if not seat.call]


def _needed(policy: Policy, name: str) -> Callable[..., Any] | None:
    """Return a function of a policy; None if it is the one that does nothing."""
    is_idle = getattr(type(policy), name) is getattr(Unchanging, name)
    return None if is_idle else getattr(policy, name)
