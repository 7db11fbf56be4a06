"""A virtual agent's side of lent room: RESERVE, CREDIT, RECALL, RETURN."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ext.wire import Envelope
from ipc.errors import AskCancelledError, LLMOSError
from ipc.plain import decode_plain, encode_plain
from ipc.protocol import Flag, Kind
from tests.simulator.wait import Wait

if TYPE_CHECKING:
    from tests.simulator.agent import VirtualAgent
    from tests.simulator.turn import VirtualTurn


@dataclass(slots=True, eq=False)
class RoomWait(Wait):
    """A tell that waits for room."""

    receiver: int = 0
    size: int = 0
    correlation: int = 0
    is_nowait: bool = False
    turn: VirtualTurn | None = None


@dataclass(slots=True, eq=False)
class Room:
    """What is lent to this agent, by receiver, and who waits for more."""

    agent: VirtualAgent
    lent: dict[int, list[int]] = field(default_factory=dict)
    waiting: dict[int, deque[RoomWait]] = field(default_factory=dict)
    recalled: dict[int, None] = field(default_factory=dict)

    def take(self, turn: VirtualTurn, receiver: int, size: int, *, nowait: bool) -> RoomWait:
        """Return a wait that is done when one message of this size may be told."""
        wait = RoomWait(receiver=receiver, size=size, is_nowait=nowait, turn=turn)
        self.waiting.setdefault(receiver, deque()).append(wait)
        self._serve(receiver)
        if not wait.is_done:
            self._reserve(wait)
        return wait

    def credit(self, envelope: Envelope) -> None:
        """The kernel lends."""
        for wait in self.waiting.get(envelope.receiver, ()):
            if wait.correlation == envelope.correlation:
                wait.correlation = 0
        messages, size = decode_plain(envelope.payload)
        lent = self.lent.setdefault(envelope.receiver, [0, 0])
        lent[0] += messages
        lent[1] += size
        self.recalled.pop(envelope.receiver, None)
        self._serve(envelope.receiver)

    def refuse(self, correlation: int, error: LLMOSError) -> bool:
        """The kernel will not lend; False if nobody here asked for it."""
        for receiver, waits in list(self.waiting.items()):
            for wait in waits:
                if wait.correlation == correlation:
                    wait.fail(error)
                    self._serve(receiver)
                    return True
        return False

    def recall(self, receiver: int) -> None:
        """Others wait: give back what no turn has taken."""
        self.recalled[receiver] = None
        lent = self.lent.pop(receiver, None)
        if lent is not None and any(lent):
            self._return(receiver, lent)

    def give_back(self, turn: VirtualTurn) -> None:
        """A turn ended without a commit: what it took is free, unless it was lent long ago."""
        if turn.room_epoch != self.agent.epoch:
            return
        self.forget_turn(turn)
        taken, turn.taken = turn.taken, {}
        for receiver, (messages, size) in taken.items():
            if receiver in self.recalled:
                self._return(receiver, [messages, size])
            else:
                lent = self.lent.setdefault(receiver, [0, 0])
                lent[0] += messages
                lent[1] += size
                self._serve(receiver)

    def forget_turn(self, turn: VirtualTurn) -> None:
        """A turn was given up: it waits no more."""
        for receiver, waits in list(self.waiting.items()):
            for wait in waits:
                if wait.turn is turn and not wait.is_done:
                    wait.cancel()
                    self._forgo(wait)
            self._serve(receiver)

    def fail_turn(self, turn: VirtualTurn) -> None:
        """A turn that was cancelled gets no room."""
        for receiver, waits in list(self.waiting.items()):
            for wait in list(waits):
                if wait.turn is turn and not wait.is_done:
                    wait.fail(AskCancelledError(actor="", reason="cancelled"))
            self._serve(receiver)

    def reset(self) -> None:
        """A new kernel epoch: nothing is lent, who waits asks again."""
        self.lent.clear()
        self.recalled.clear()
        for waits in self.waiting.values():
            for wait in waits:
                self._reserve(wait)

    def _serve(self, receiver: int) -> None:
        waits = self.waiting.get(receiver)
        if waits is None:
            return
        lent = self.lent.get(receiver, [0, 0])
        while waits and (waits[0].is_done or (lent[0] >= 1 and lent[1] >= waits[0].size)):
            wait = waits.popleft()
            if not wait.is_done and wait.turn is not None:
                lent[0] -= 1
                lent[1] -= wait.size
                wait.turn.note_taken(receiver, wait.size)
                self._forgo(wait)
                wait.resolve(None)
        if not waits:
            self.waiting.pop(receiver, None)

    def _forgo(self, wait: RoomWait) -> None:
        """Stand in line no more: what was asked for came from elsewhere, or is not needed."""
        if wait.correlation:
            cancel = Envelope(Kind.CANCEL, self.agent.id, correlation=wait.correlation)
            self.agent.post(cancel)

    def _reserve(self, wait: RoomWait) -> None:
        assert wait.turn is not None
        wait.correlation = self.agent.new_correlation()
        self.agent.post(
            Envelope(
                Kind.RESERVE,
                self.agent.id,
                wait.receiver,
                encode_plain([1, wait.size]),
                turn=wait.turn.id,
                correlation=wait.correlation,
                flags=Flag.NOWAIT if wait.is_nowait else 0,
            )
        )

    def _return(self, receiver: int, amount: list[int]) -> None:
        body = encode_plain(amount)
        self.agent.post(Envelope(Kind.RETURN, self.agent.id, receiver, body))
