"""What a loop turn has left to be done, done until nothing is left: before it is committed.

The parts of the core leave in to-do sets of the state what would have to go up the stack: the
terminated, the crashed, actors with mail to grant. Each may leave more of the others.

Cost: O(1) an entry; nothing of LLM work, budgets and pools where there are none.
"""

from __future__ import annotations

from kernel.budget.upkeep import BudgetUpkeep
from kernel.incarnations import Incarnations
from kernel.lifecycle import Lifecycle
from kernel.llm.service import LlmService
from kernel.pools.keeper import PoolKeeper
from kernel.termination import Termination
from kernel.turn_order import TurnOrder


class Settling:
    """See the module head."""

    def __init__(
        self,
        incarnations: Incarnations,
        lifecycle: Lifecycle,
        termination: Termination,
        pools: PoolKeeper,
        llm: LlmService,
        upkeep: BudgetUpkeep,
    ) -> None:
        self.state = lifecycle.state
        self.delivery = lifecycle.delivery
        self.incarnations = incarnations
        self.lifecycle = lifecycle
        self.termination = termination
        self.pools = pools
        self.llm = llm
        self.upkeep = upkeep

    def settle(self) -> None:
        """Do what was left to do, until nothing is: terminations, crashes, grants, answers."""
        state = self.state
        while state.dirty or self._is_unsettled():
            if state.pools_due:
                self.pools.settle()
            if state.doomed:
                self._terminate_doomed()
            if state.crashed:
                self._end_crashed()
            if self.llm.is_unsettled:
                self.llm.settle()
            if self.upkeep.accounts:
                self.upkeep.settle()
            self._pump_dirty()
        self.llm.plan()
        if state.is_shutting_down:
            self.lifecycle.shut_down()

    def _is_unsettled(self) -> bool:
        state = self.state
        if state.doomed or state.crashed or state.pools_due or self.llm.is_unsettled:
            return True
        if self.upkeep.accounts and self.upkeep.is_unsettled:
            return True
        slots = state.slots
        if slots.order is not None:
            return self._order_moves(slots.order)
        return slots.waiting > 0 and self._line_moves()

    def _terminate_doomed(self) -> None:
        state = self.state
        while state.doomed:
            actor, reason = next(iter(state.doomed.items()))
            del state.doomed[actor]
            record = state.actors.get(actor)
            if record is not None:
                self.termination.terminate(record, reason)

    def _end_crashed(self) -> None:
        state = self.state
        while state.crashed:
            actor, reason = state.crashed.popitem()
            record = state.actors.get(actor)
            if record is not None:
                self.incarnations.crash(record, reason)

    def _pump_dirty(self) -> None:
        state, pump = self.state, self.delivery.pump
        while state.dirty:
            dirty, state.dirty = state.dirty, {}
            for actor in dirty:
                record = state.actors.get(actor)
                if record is not None:
                    pump(record)

    def _line_moves(self) -> bool:
        """Let those in line for a slot go on; say whether any could."""
        slots, moved = self.state.slots, False
        while (call := slots.take_answer()) is not None:
            self.delivery.resume_next(call)
            moved = True
        while (actor := slots.take_actor()) is not None:
            record = self.state.actors.get(actor)
            if record is not None:
                self.delivery.pump(record, has_slot=True)
            moved = True
        return moved

    def _order_moves(self, order: TurnOrder) -> bool:
        """As ``_line_moves``, where a policy orders the line."""
        slots, moved = self.state.slots, False
        order.settle(self.state.now_ns)
        while slots.used < slots.limit and (seat := order.take(self.state.now_ns)) is not None:
            self.delivery.grant_next(seat)
            moved = True
        return moved
