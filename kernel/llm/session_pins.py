"""Pins: a session's blocks are kept on its engine until a time, whatever else needs room.

A pin is of the tokens that were computed when it was made; when the session grows, it is made
anew. It ends with the session, with the time, and with the engine's incarnation.

Of an owner with a budget of KV blocks a pin reserves those it holds, and gives them back when it
ends, however it ends. It is a wish there too: it does not wait, stands behind all who do, and
yields to a completion that would else wait for blocks; the pin that ends first goes first.

Invariant:
  N1  at the end of a loop turn a budget has reserved exactly the blocks of the pins there are,
      beside those of completions. One block that several hold is counted for each.
Cost: O(blocks) to make one; nothing for owners without an account.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from ipc.errors import LLMOSError
from kernel.budget.accounts import Shortage
from kernel.llm.engines import Engines
from kernel.llm.scheduler import Scheduler
from kernel.llm.sessions import LlmSession, SessionPin
from kernel.state import KernelState

_LAST = 1 << 64  # behind every message and call that waits


class Pins:
    """See the module head."""

    def __init__(self, state: KernelState, engines: Engines) -> None:
        self.state = state
        self.budgets = state.budgets
        self.engines = engines
        self._pins: dict[tuple[Scheduler, int], SessionPin] = {}

    def __iter__(self) -> Iterator[SessionPin]:
        return iter(list(self._pins.values()))

    def refresh(self, session: LlmSession) -> None:
        """Bring a session's pin in line with its tokens and its time.

        Raises:
            LimitError: the owner's quota or the engine has no room. BudgetExceededError: nor has
                its budget. PromptTooLongError. The session keeps the pin it had.
        """
        old = session.pin
        session.pin = self._make(session)
        if old is not None:
            self._let_go(old)

    def follow(self, session: LlmSession) -> None:
        """The session has grown, or is another's: pin what it has now, as far as that may be."""
        with suppress(LLMOSError):
            self.refresh(session)

    def _make(self, session: LlmSession) -> SessionPin | None:
        engine = self.engines.get(session.engine)
        scheduler = engine.scheduler if engine is not None else None
        until_ns = session.pinned_until_ns
        if scheduler is None or until_ns <= self.state.now_ns or not len(session.ids):
            return None
        handle = scheduler.pin(session.owner, session.ids, 0, until_ns)
        blocks = scheduler.pinned_blocks(handle)
        pin = SessionPin(session, scheduler, handle, until_ns, blocks)
        shortage = self._reserve(pin, session.pin)
        if shortage is not None:
            scheduler.unpin(handle)
            raise shortage.error()
        self._pins[scheduler, handle] = pin
        return pin

    def _reserve(self, pin: SessionPin, old: SessionPin | None) -> Shortage | None:
        """Reserve a pin's blocks; those of the one it replaces are taken over."""
        owner = self.state.actors.get(pin.session.owner)
        account = owner.account if owner is not None else None
        if old is not None and old.account is not account:
            self._settle(old)
        if account is None:
            return None
        had = old.blocks if old is not None and old.account is account else 0
        if pin.blocks > had:
            shortage = self.budgets.take(account, {"kv_blocks": pin.blocks - had}, _LAST)
            if shortage is not None:
                if old is not None and old.account is None:  # of another, and given back already
                    self._let_go(old)
                return shortage
        elif pin.blocks < had:
            self.budgets.tree.settle(account, "kv_blocks", had - pin.blocks, 0)
        pin.account = account
        if old is not None:
            old.account = None
        return None

    # --- ends ---------------------------------------------------------------------------

    def _let_go(self, pin: SessionPin) -> None:
        pin.scheduler.unpin(pin.handle)
        self._forget(pin)

    def _forget(self, pin: SessionPin) -> None:
        self._pins.pop((pin.scheduler, pin.handle), None)
        self._settle(pin)
        if pin.session.pin is pin:
            pin.session.pin = None

    def _settle(self, pin: SessionPin) -> None:
        """Give back what a pin has reserved."""
        account, pin.account = pin.account, None
        if account is not None and pin.blocks:
            self.budgets.tree.settle(account, "kv_blocks", pin.blocks, 0)

    def settle(self, scheduler: Scheduler) -> None:
        """Forget the pins that have ended by themselves: expired, or given up for a request."""
        for handle in scheduler.take_ended_pins():
            pin = self._pins.get((scheduler, handle))
            if pin is not None:
                self._forget(pin)

    def void(self, scheduler: Scheduler) -> None:
        """An engine is gone, with all that was pinned there."""
        for pin in [pin for pin in self._pins.values() if pin.scheduler is scheduler]:
            self._forget(pin)

    def yield_one(self, shortage: Shortage) -> bool:
        """Let the pin go that ends first of those that stand against it; False: none does."""
        pins = [
            pin
            for pin in self._pins.values()
            if pin.account is not None and pin.blocks and shortage.account in pin.account.path()
        ]
        if not pins:
            return False
        self._let_go(min(pins, key=lambda pin: (pin.until_ns, pin.session.id)))
        return True

    # --- budgets ------------------------------------------------------------------------

    def count(self, owners: set[int]) -> None:
        """Owners have got a budget: their pins count from now on; those it has no room for go."""
        for pin in [pin for pin in self._pins.values() if pin.session.owner in owners]:
            if pin.account is None and self._reserve(pin, None) is not None:
                self._let_go(pin)
