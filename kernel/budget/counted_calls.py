"""System calls that cost one unit of a resource each, such as those that run a tool.

Which these are is in ``COUNTED``; whoever adds such a call to the kernel adds its row. The unit
is charged in the loop turn that journals the call, before anything is done for it; without budget
the call waits, as the ask it is: it holds no slot, and its deadline and cancellation hold. A call
that is carried out again by the next kernel is charged no more, unless it was still waiting. What
was begun counts, however it ends: its work may have been done.

The rows: a call that waits has one in ``unpaid``, under its own id.

Cost: nothing for callers without an account.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ipc.errors import LLMOSError
from ipc.plain import encode_plain
from ipc.protocol import Flag
from kernel.actor_record import ActorRecord
from kernel.budget.accounts import Account, Shortage
from kernel.calls import Call
from kernel.delivery import Delivery
from kernel.records import Snapshot
from kernel.state import Peer

CallHandler = Callable[[Peer, Call, dict[str, Any]], Any]

COUNTED = {"tool_call": "tool_calls"}  # system call -> resource

_REFUSES = int(Flag.NO_BUDGET_WAIT | Flag.NOWAIT)


class CountedCalls:
    """See the module head. deferred: what a function returns that answers later."""

    def __init__(self, delivery: Delivery, rows: Snapshot, deferred: object) -> None:
        """rows: of the kernel before this one."""
        self.state = delivery.state
        self.budgets = delivery.state.budgets
        self.delivery = delivery
        self.deferred = deferred
        waiting = rows.get("unpaid", {})
        self._paid = {key for key in rows.get("message", {}) if key not in waiting}

    def wrap(
        self, calls: dict[str, tuple[CallHandler, bool]]
    ) -> dict[str, tuple[CallHandler, bool]]:
        """Return the calls, those that are counted with their unit charged before."""
        return {
            name: (self._counted(name, handler), for_agents)
            for name, (handler, for_agents) in calls.items()
        }

    def _counted(self, name: str, handler: CallHandler) -> CallHandler:
        resource = COUNTED.get(name)
        return handler if resource is None else partial(self._call, resource, handler)

    def _call(
        self,
        resource: str,
        handler: CallHandler,
        peer: Peer,
        call: Call,
        arguments: dict[str, Any],
    ) -> Any:
        account = peer.account if isinstance(peer, ActorRecord) else None
        if account is None or call.id in self._paid:
            return handler(peer, call, arguments)
        shortage = self.budgets.charge(account, {resource: 1}, call.id)
        if shortage is None:
            return handler(peer, call, arguments)
        if call.request is not None and call.request.flags & _REFUSES:
            raise shortage.error()
        self._stand(account, resource, call, partial(handler, peer, call, arguments), shortage)
        return self.deferred

    def _stand(
        self,
        account: Account,
        resource: str,
        call: Call,
        carry_out: Callable[[], Any],
        shortage: Shortage,
    ) -> None:
        self.state.output.changes.put("unpaid", call.id, ())
        self.budgets.held_calls[call.id] = None
        self.state.counters.add("held_for_budget")

        def attempt() -> Shortage | None:
            if self.state.calls.get(call.id) is not call or call.is_finished:
                self._forget(call)  # cancelled, or its deadline has passed
                return None
            still = self.budgets.charge(account, {resource: 1}, call.id)
            if still is None:
                self._forget(call)
                self._carry_out(call, carry_out)
            return still

        self.budgets.wait(account, call.id, attempt, shortage)

    def _forget(self, call: Call) -> None:
        self.state.output.changes.delete("unpaid", call.id)
        self.budgets.held_calls.pop(call.id, None)

    def _carry_out(self, call: Call, carry_out: Callable[[], Any]) -> None:
        try:
            answer = carry_out()
        except LLMOSError as error:
            self.delivery.answer_error(call, error)
        else:
            if answer is not self.deferred:
                self.delivery.answer(call, encode_plain(answer))
