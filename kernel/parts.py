"""The parts of a core, made once and in the order in which they are stacked (ARCHITECTURE.md).

Composition and nothing else: what a part does is in its file, who gets which input in
kernel/core.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kernel.budget.budget_calls import BudgetCalls
from kernel.budget.counted_calls import CountedCalls
from kernel.budget.postage import Postage
from kernel.budget.run_time import RunTime
from kernel.budget.upkeep import BudgetUpkeep
from kernel.delivery import Delivery
from kernel.effects import Effects
from kernel.handshake import Handshake
from kernel.heartbeat import Heartbeat
from kernel.incarnations import Incarnations
from kernel.lifecycle import Lifecycle
from kernel.llm.drains import Drains
from kernel.llm.named_policies import NamedPolicies
from kernel.llm.service import LlmService
from kernel.marks import Marks
from kernel.policy.policy_names import POLICIES, check_name
from kernel.policy_calls import PolicyCalls
from kernel.pools.keeper import PoolKeeper
from kernel.pools.pool_calls import PoolCalls
from kernel.pools.takeover import PoolTakeover
from kernel.records import Snapshot
from kernel.recovery import Recovery
from kernel.reports import Reports
from kernel.resources.resource_calls import ResourceCalls
from kernel.sending import Sending
from kernel.settling import Settling
from kernel.state import KernelState
from kernel.streams import Streams
from kernel.supervision import Supervision
from kernel.sweep import Sweep
from kernel.syscalls import DEFERRED, Syscalls
from kernel.termination import Termination
from kernel.turns import Turns


class Parts:
    """See the module head."""

    def __init__(
        self, state: KernelState, rows: Snapshot, facts: Callable[[], dict[str, Any]]
    ) -> None:
        """Make the parts. facts: what only the driver knows, for ``status``.

        Raises:
            UnknownPolicyError: there is no policy of the name that the configuration gives.
        """
        self.state = state
        turn_policy, llm_policy = (_policy(state, key) for key in ("turn_policy", "llm_policy"))
        state.slots.set_policy(turn_policy)
        self._stack_messages()
        self._stack_processes()
        guesses_all = state.config.llm_admission == "expected"
        policies = NamedPolicies(llm_policy, guesses_all=guesses_all)
        self.llm = LlmService(self.sending, self.lifecycle, policies, DEFERRED)
        self.resources = ResourceCalls(state, Drains(self.llm.fleet), facts)
        self.policy_calls = PolicyCalls(self.delivery, self.llm)
        self.syscalls = self._system_calls(rows, Reports(state, facts))
        self._stack_loop_turn()

    def _stack_messages(self) -> None:
        """Mailboxes, answers, effects and turns."""
        self.delivery = Delivery(self.state)
        self.postage = Postage(self.delivery)
        self.streams = Streams(self.delivery)
        self.sending = Sending(self.delivery, self.streams, self.postage)
        self.effects = Effects(self.delivery, self.postage)
        self.turns = Turns(self.delivery, self.effects)

    def _stack_processes(self) -> None:
        """Who runs, who is gone, who is on a connection."""
        self.incarnations = Incarnations(self.delivery)
        supervision = self.supervision = Supervision(self.incarnations)
        self.lifecycle = Lifecycle(self.incarnations, supervision, self.turns)
        self.run_time = RunTime(self.incarnations)
        self.upkeep = BudgetUpkeep(self.run_time)
        takeover = PoolTakeover(self.delivery)
        self.pools = PoolKeeper(self.lifecycle, takeover)
        self.termination = Termination(
            self.delivery, self.turns, self.effects, self.incarnations, supervision, takeover
        )
        self.heartbeat = Heartbeat(self.state)
        self.handshake = Handshake(
            self.incarnations, self.turns, self.streams, self.effects, self.heartbeat
        )

    def _system_calls(self, rows: Snapshot, reports: Reports) -> Syscalls:
        """All that peers may ask of the kernel; each part brings its own."""
        pools = PoolCalls(self.sending, self.termination, self.pools, DEFERRED)
        more = self.llm.calls() | pools.calls()
        more |= self.policy_calls.calls()
        more |= BudgetCalls(self.run_time).calls()
        more |= self.resources.calls()
        counted = CountedCalls(self.delivery, rows, DEFERRED)
        wrapped = counted.wrap(more)
        return Syscalls(self.sending, self.lifecycle, self.termination, reports, wrapped)

    def _stack_loop_turn(self) -> None:
        """What each loop turn ends with, and what is done once a second."""
        self.marks = Marks(self.state)
        self.settling = Settling(
            self.incarnations, self.lifecycle, self.termination, self.pools, self.llm, self.upkeep
        )
        self.sweep = Sweep(self.handshake, self.sending, self.llm, self.run_time)

    def recover(self, rows: Snapshot) -> None:
        """Go on from where the kernel before had got to."""
        recovery = Recovery(rows, self.delivery, self.postage)
        recovery.load(self.effects, self.turns)
        self.llm.load(rows)
        self.resources.load(rows)
        recovery.bring_up(self.incarnations, self.syscalls)
        self.run_time.adopt()
        self.llm.forget_unclaimed()
        self.sweep.start()


def _policy(state: KernelState, key: str) -> str:
    """Return the policy that was set, or else the configured one.

    Raises:
        UnknownPolicyError: there is none of the name that the configuration gives.
    """
    configured = str(getattr(state.config, key))
    check_name(configured)
    chosen = state.settings.get(key) or configured
    if chosen in POLICIES:
        return chosen
    state.counters.add("settings_ignored")  # set by a kernel that knew more policies
    return configured
