"""What the system calls ps, inspect and status answer: read-only pictures of the state.

Cost: O(actors) for ps; nothing here changes anything.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from ipc.errors import from_wire
from ipc.ids import short
from ipc.plain import decode_plain
from ipc.protocol import Kind
from ipc.syscalls import ActorDetail, ActorInfo, KernelStatus
from kernel.actor_record import ActorRecord, Status, Turn
from kernel.calls import Call
from kernel.state import KernelState

SHOWN_QUEUE = 20
_FIRST_BYTES = 256  # of a queued message's body, enough for its method name


class Reports:
    """See the module head. ``facts``: what only the daemon knows (journal and memory sizes)."""

    def __init__(self, state: KernelState, facts: Callable[[], dict[str, Any]]) -> None:
        self.state = state
        self.facts = facts

    def actor(self, record: ActorRecord) -> ActorInfo:
        """Return one line of ps."""
        mailbox = record.mailbox
        return ActorInfo(
            actor=record.id,
            name=record.name,
            target=record.spec.get("target", ""),
            parent=record.parent or None,
            state=self._state_of(record),
            waiting_for=self._waits_of(record),
            incarnation=record.incarnation,
            restarts=record.restarts,
            pid=record.pid,
            mailbox=len(mailbox) + len(mailbox.waiting) + len(record.open),
            mailbox_bytes=mailbox.used_bytes,
            handled=record.handled,
            failures=record.failures,
            state_bytes=record.state_bytes,
            started_wall_ns=record.started_wall_ns,
            last_error=_text_of(record.last_error),
        )

    def _state_of(self, record: ActorRecord) -> str:
        if record.status is Status.BACKOFF:
            return str(Status.STARTING.value)
        if record.status is not Status.RUNNING:
            return str(record.status.value)
        if record.suspended:
            return "waiting"
        if record.open:
            return "running" if record.slots else "waiting"
        return "ready" if len(record.mailbox) else "idle"

    def _waits_of(self, record: ActorRecord) -> list[str]:
        waits = [f"budget of {resource}" for resource in sorted(record.suspended)]
        return waits + [wait for turn in record.open.values() for wait in self._waits_of_turn(turn)]

    def _waits_of_turn(self, turn: Turn) -> list[str]:
        waits = []
        lines = self.state.budgets.lines
        short = {waiter.number for waiter in lines.waiters()} if len(lines) else set()
        for identifier in sorted(turn.outstanding):
            call = self.state.calls.get(identifier)
            if call is not None:
                budget = " (budget)" if identifier in short else ""
                waits.append(f"{self._name_call(call)}{budget}")
        waits += ["budget"] * len(turn.budget_waits or ())
        waits += [f"room at {self.state.name_of(receiver)}" for receiver in turn.reservations]
        return waits

    def _name_call(self, call: Call) -> str:
        if call.request is None:
            return f"ask {short(call.id)} {self.state.name_of(call.receiver)}"
        name = str(decode_plain(call.request.payload)[0])
        return "llm" if name == "llm_generate" else name

    def detail(self, record: ActorRecord) -> ActorDetail:
        """Return everything about one actor."""
        return ActorDetail(
            **self.actor(record),
            spec={key: value for key, value in record.spec.items() if key != "environment"},
            declares=dict(record.declares),
            handlers=record.declares.get("handlers", {}),
            state_keys={key: len(value) for key, value in record.state.items()},
            links=sorted(record.links),
            monitors=sorted(record.monitors),
            subscriptions=[[topic, *pair] for topic, pair in record.subscriptions.items()],
            handles=sorted(record.handles),
            timers=[
                {"id": timer.id, "due_wall_ns": timer.due_wall_ns}
                for timer in self.state.durable_timers.values()
                if timer.actor == record.id
            ],
            open_turns=[self._turn(turn) for turn in record.open.values()],
            queued=[
                {
                    "message": message.id,
                    "sender": message.sender,
                    "priority": message.envelope.priority,
                    "is_ask": message.envelope.kind == Kind.ASK,
                    "body": message.envelope.payload[:_FIRST_BYTES],
                }
                for message in itertools.islice(record.mailbox.queued(), SHOWN_QUEUE)
            ],
            dead_letters=sum(
                letter.envelope.receiver == record.id
                for letter in self.state.letters.letters.values()
            ),
            log_path=self.state.log_path(record.id, record.name),
        )

    def _turn(self, turn: Turn) -> dict[str, Any]:
        return {
            "message": turn.message.id,
            "sender": turn.message.sender,
            "attempts": turn.message.attempts,
            "calls": self.state.calls.num_of_turn(turn.message.id),
            "is_cancelled": turn.is_cancelled,
        }

    def status(self) -> KernelStatus:
        """Return the state of the kernel as a whole."""
        state = self.state
        facts: dict[str, Any] = {
            "pid": 0,
            "version": "",
            "durability": "",
            "journal_bytes": 0,
            "rss_bytes": 0,
        }
        facts.update(self.facts())
        return KernelStatus(
            pid=facts["pid"],
            version=facts["version"],
            node=state.config.node,
            generation=state.generation,
            epoch=state.epoch,
            started_wall_ns=state.started_wall_ns,
            durability=facts["durability"] or state.config.durability,
            actors=len(state.actors),
            running=sum(record.has_process for record in state.actors.values()),
            sessions=len(state.peers.sessions),
            pending_messages=len(state.messages),
            pending_bytes=sum(record.mailbox.used_bytes for record in state.actors.values()),
            dead_letters=len(state.letters.letters),
            journal_bytes=facts["journal_bytes"],
            rss_bytes=facts["rss_bytes"],
        )


def _text_of(error: dict[str, Any] | None) -> str | None:
    """Return what an error says, without its traceback."""
    if error is None:
        return None
    fields = error["fields"]
    if "traceback" in fields:
        fields = {**fields, "traceback": ""}
    return str(from_wire({"code": error["code"], "fields": fields}))
