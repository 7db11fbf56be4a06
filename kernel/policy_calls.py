"""System calls about scheduling policies: which there are, which are used, to use another.

Two things are scheduled: ``turns`` (who gets a slot, kernel/turn_order.py) and ``llm`` (which
requests an engine computes first, kernel/llm/named_policies.py). A third is ``placement``: which of
a model's engines computes a request (kernel/llm/placement.py). A policy that is set holds from
the next decision on, and over restarts (kernel/settings.py).

Promise: a change loses nobody who waits. They stand in the new order as if they had come now, in
the order in which they stood; order within a mailbox is no policy's. A policy begins without memory
of what was served before.

Cost: O(waiting) a change. Operators only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ipc.errors import BadPolicyError, UsageError
from ipc.syscalls import PolicyInfo
from kernel.calls import Call
from kernel.delivery import Delivery
from kernel.grant_record import MAX_KEPT, GrantRecord
from kernel.llm.service import LlmService
from kernel.policy.balance_names import SUMMARIES as BALANCER_SUMMARIES
from kernel.policy.balance_names import check_balancer
from kernel.policy.policy_names import SUMMARIES, check_name
from kernel.state import Peer

CallHandler = Callable[[Peer, Call, dict[str, Any]], Any]
SETTINGS = {  # also keys of the configuration
    "turns": "turn_policy",
    "llm": "llm_policy",
    "placement": "llm_placement",
}


class PolicyCalls:
    """See the module head."""

    def __init__(self, delivery: Delivery, llm: LlmService) -> None:
        self.state = delivery.state
        self.delivery = delivery
        self.llm = llm

    def calls(self) -> dict[str, tuple[CallHandler, bool]]:
        """Return the system calls: name to (function, agents may make it)."""
        return {
            "policies": (self.policies, False),
            "policy_set": (self.set_policy, False),
            "policy_reset": (self.reset, False),
            "grants": (self.grants, False),
        }

    def policies(self, peer: Peer, call: Call, arguments: dict[str, Any]) -> list[PolicyInfo]:
        """Return what is scheduled, by which policy."""
        return [self._describe(kind) for kind in SETTINGS]

    def set_policy(self, peer: Peer, call: Call, arguments: dict[str, Any]) -> PolicyInfo:
        """Use another policy from now on.

        Raises:
            BadPolicyError: no such kind. UnknownPolicyError: no such policy. Nothing was changed.
        """
        kind, name = _kind_of(arguments), str(arguments["name"])
        if kind == "placement":
            check_balancer(name)
        else:
            check_name(name)
        self.use(kind, name)
        self.state.settings.put(SETTINGS[kind], name, self.state.output.changes)
        return self._describe(kind)

    def reset(self, peer: Peer, call: Call, arguments: dict[str, Any]) -> PolicyInfo:
        """Let the configuration say again which policy is used. Raises BadPolicyError."""
        kind = _kind_of(arguments)
        self.use(kind, self._configured(kind))
        self.state.settings.drop(SETTINGS[kind], self.state.output.changes)
        return self._describe(kind)

    def grants(self, peer: Peer, call: Call, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the record of grants. keep: from now on so many, 0 for none.

        Raises:
            UsageError: keep is out of range.
        """
        state, record = self.state, self.state.grants
        keep = arguments.get("keep")
        if keep is not None:
            if not isinstance(keep, int) or not 0 <= keep <= MAX_KEPT:
                raise UsageError(reason=f"keep is 0 to {MAX_KEPT} grants, not {keep!r}")
            state.grants = GrantRecord(keep) if keep else None
        kept = state.grants.kept if state.grants is not None else 0
        return {"kept": kept, "grants": record.describe() if record is not None else []}

    # --- parts ----------------------------------------------------------------------------

    def _configured(self, kind: str) -> str:
        return str(getattr(self.state.config, SETTINGS[kind]))

    def _describe(self, kind: str) -> PolicyInfo:
        is_set = self.state.settings.get(SETTINGS[kind]) is not None
        known = SUMMARIES
        if kind == "turns":
            name, waiting = self.state.slots.policy, self.state.slots.num_waiting
        elif kind == "placement":
            name, waiting, known = self.llm.generation.placement.name, 0, BALANCER_SUMMARIES
        else:
            name, waiting = self.llm.policies.name, self.llm.num_waiting()
        return PolicyInfo(
            kind=kind,
            policy=name,
            source="set" if is_set else "configuration",
            configured=self._configured(kind),
            waiting=waiting,
            known=known,
        )

    def use(self, kind: str, name: str) -> None:
        """Use another policy until something else is said. Raises UnknownPolicyError."""
        self.state.counters.add("policies_set")
        if kind == "llm":
            self.llm.use_policy(name)
        elif kind == "placement":
            self.llm.generation.placement.use(name)
        elif name != self.state.slots.policy:
            self._use_for_turns(name)

    def _use_for_turns(self, name: str) -> None:
        state = self.state
        calls, actors = state.slots.set_policy(name)
        for record in state.actors.values():
            record.place = None
        if state.slots.order is not None:
            for record in state.actors.values():
                if record.open:
                    state.slots.order.account(record, state.now_ns)
            for number, priority in state.urgency.inherited.items():
                state.slots.order.raise_priority(number, priority, state.now_ns)
        for identifier in calls:
            self.delivery.line_up_again(identifier)
        for actor in actors:
            if actor in state.actors:
                self.delivery.pump(state.actors[actor])


def _kind_of(arguments: dict[str, Any]) -> str:
    kind = str(arguments["kind"])
    if kind not in SETTINGS:
        needs = " or ".join(SETTINGS)
        raise BadPolicyError(policy="a policy", what="kind", value=kind, needs=needs)
    return kind
