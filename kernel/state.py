"""What the core knows, and the few things every part of it does: give ids, send, journal.

The composers (delivery, streams, turns, lifecycle, handshake, syscalls, recovery) share one
KernelState and are stacked in that order: each may call those before it, never those after.
What must go the other way is left in a to-do set (``dirty``, ``doomed``) that
kernel/settling.py settles at the end of the loop turn.

No clock, no randomness, no I/O: ``now_ns``/``wall_ns`` are set by ``Core.begin``, ``rng`` is
given. Dicts keep insertion order and no set is iterated unsorted, so one seed gives one history.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from ext.wire import Envelope
from ipc.channel import Channel
from ipc.ids import make_id
from ipc.protocol import SESSION_BIT
from kernel.actor_record import ActorRecord
from kernel.budget.budgets import Budgets
from kernel.calls import Call, CallTable
from kernel.config import KernelConfig
from kernel.dead_letters import DeadLetterQueue
from kernel.grant_record import GrantRecord
from kernel.llm.todo import LlmTodo
from kernel.mailbox import Mailbox, Message
from kernel.output import Output
from kernel.peers import Peers, Session
from kernel.pools.pool import Pool
from kernel.registry import NameTable, SpawnTree
from kernel.resources.board import Board
from kernel.resources.inventory import Inventory
from kernel.settings import Settings
from kernel.slots import SlotLine
from kernel.telemetry import Counters
from kernel.timers import Due, TimerHeap
from kernel.urgency import Urgency

ID_BLOCK = 1 << 16  # ids are reserved in the journal in blocks, so that none is used twice

Peer = ActorRecord | Session


@dataclass(frozen=True, slots=True)
class Keyed:
    """What an idempotency key of a client stands for."""

    expires_wall_ns: int
    answer: Envelope | None  # None: a tell, or the ask is still pending
    call: int  # id of the pending ask, or 0


@dataclass(slots=True)
class DurableTimer:
    """A message an actor has told itself for later."""

    id: int
    actor: int
    due_wall_ns: int
    envelope: Envelope


@dataclass(slots=True)
class KernelState:
    """See the module head."""

    config: KernelConfig
    rng: random.Random
    generation: int
    epoch: int
    operator_token: str
    log_path: Callable[[int, str], str | None]
    now_ns: int
    wall_ns: int
    started_wall_ns: int
    names: NameTable
    letters: DeadLetterQueue
    slots: SlotLine
    settings: Settings
    actors: dict[int, ActorRecord] = field(default_factory=dict)
    tree: SpawnTree = field(default_factory=SpawnTree)
    peers: Peers = field(default_factory=Peers)
    calls: CallTable = field(default_factory=CallTable)
    timers: TimerHeap = field(default_factory=TimerHeap)
    counters: Counters = field(default_factory=Counters)
    messages: dict[int, Message] = field(default_factory=dict)
    durable_timers: dict[int, DurableTimer] = field(default_factory=dict)
    topics: dict[str, dict[int, None]] = field(default_factory=dict)
    spawned: dict[int, list[int]] = field(default_factory=dict)  # turn -> children
    marks: dict[int, int] = field(default_factory=dict)  # recovered, until the peer is back
    keyed: dict[bytes, Keyed] = field(default_factory=dict)
    keys_of_calls: dict[int, bytes] = field(default_factory=dict)
    followers: dict[bytes, list[int]] = field(default_factory=dict)  # key -> calls of repeats
    grants: GrantRecord | None = None  # kept while an operator wants it
    output: Output = field(default_factory=Output)
    outgoing: dict[bytes, tuple[Peer, list[Envelope]]] = field(default_factory=dict)
    touched: dict[int, Peer] = field(default_factory=dict)  # have taken frames in this turn
    dirty: dict[int, None] = field(default_factory=dict)  # actors whose mailbox may move
    doomed: dict[int, str] = field(default_factory=dict)  # actors to terminate, with the reason
    crashed: dict[int, str] = field(default_factory=dict)  # processes to kill, with the reason
    condemned: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)  # (actor, inc.)
    pools: dict[int, Pool] = field(default_factory=dict)
    pools_due: dict[int, None] = field(default_factory=dict)  # to be looked at
    llm: LlmTodo = field(default_factory=LlmTodo)
    weighted: dict[int, None] = field(default_factory=dict)  # ask for CPU of their own
    inventory: Inventory = field(default_factory=Inventory)
    board: Board = field(default_factory=Board)  # the last samples of machine and processes
    budgets: Budgets = field(default_factory=Budgets)
    urgency: Urgency = field(default_factory=Urgency)
    max_turns: int = 0  # slots that all actors together may come to want
    is_storage_low: bool = False
    free_bytes: int = 1 << 62
    is_shutting_down: bool = False
    counter: int = 0
    reserved: int = 0
    node_bits: int = 0  # of every id

    def new_id(self) -> int:
        """Return an id that was never used and never will be."""
        self.counter += 1
        if self.counter > self.reserved:
            self.reserved = self.counter + ID_BLOCK
            self.node_bits = make_id(self.config.node, self.reserved) ^ self.reserved
            self.output.changes.put("meta", "counter", (self.reserved,))
        return self.node_bits | self.counter

    def new_rng(self) -> random.Random:
        """Return a source of chance for a policy, drawn from this one."""
        return random.Random(self.rng.getrandbits(64))

    def new_mailbox(self, messages: int | None, size: int | None) -> Mailbox:
        """Return a mailbox with the given limits, or the kernel's."""
        return Mailbox(messages or self.config.mailbox_messages, size or self.config.mailbox_bytes)

    def new_channel(self, taken: int) -> Channel:
        """Return the kernel's end of a channel whose peer has sent ``taken`` envelopes."""
        return Channel(self.config.window_messages, self.config.window_bytes, taken=taken)

    def post(self, peer: Peer, envelope: Envelope) -> None:
        """Number the envelope and send it after this loop turn's commit.

        Without a connection it is kept, and sent when the peer says hello again.
        """
        channel = peer.channel
        if channel is None:
            return
        channel.number(envelope)
        if peer.route is not None:
            self.post_unnumbered(peer.route, envelope, peer)

    def post_unnumbered(self, route: bytes, envelope: Envelope, peer: Peer) -> None:
        """Send an envelope that has its number, or one of the handshake, or an ACK."""
        entry = self.outgoing.get(route)
        if entry is None:
            self.outgoing[route] = (peer, [envelope])
        else:
            entry[1].append(envelope)

    def peer_at(self, route: bytes) -> Peer | None:
        """Return who has proved to be at the other end of a connection, unless gone since."""
        owner = self.peers.owners.get(route, 0)
        return self.peers.sessions.get(owner) if owner & SESSION_BIT else self.actors.get(owner)

    def peer(self, identifier: int) -> Peer | None:
        """Return the agent or session with this id, or None when it is gone."""
        if identifier & SESSION_BIT:
            return self.peers.sessions.get(identifier)
        return self.actors.get(identifier)

    def save_actor(self, record: ActorRecord) -> None:
        """Journal what is durable of the actor."""
        self.output.changes.put("actor", record.id, record.to_row())

    def save_message(self, message: Message) -> None:
        """Journal an accepted message whose envelope has changed."""
        due_wall_ns = self.to_wall(message.due_ns) if message.due_ns else 0
        row = (message.envelope, message.accepted_wall_ns, due_wall_ns)
        self.output.changes.put("message", message.id, row)

    def save_request(self, call: Call) -> None:
        """Journal a call to the kernel that is answered later."""
        due_ns = self.timers.due_at(Due.DEADLINE, call.id)
        due_wall_ns = self.to_wall(due_ns) if due_ns is not None else 0
        self.output.changes.put("message", call.id, (call.request, self.wall_ns, due_wall_ns))

    def give_handle(self, holder: ActorRecord, target: int) -> None:
        """Let the holder send to the target from now on, durably."""
        if target != holder.id and target not in holder.handles:
            holder.handles.add(target)
            self.output.changes.put("handle", (holder.id, target), ())

    def name_of(self, identifier: int) -> str:
        """Return what people call the actor, session or kernel."""
        if identifier == 0:
            return "kernel"
        record = self.actors.get(identifier)
        if record is not None:
            return record.name
        return "client" if identifier & SESSION_BIT else f"actor {identifier}"

    def to_wall(self, due_ns: int) -> int:
        """Return the wall-clock time of a monotonic one."""
        return self.wall_ns + (due_ns - self.now_ns)

    def to_monotonic(self, wall_ns: int) -> int:
        """Return the monotonic time of a wall-clock one."""
        return self.now_ns + (wall_ns - self.wall_ns)

    def statistics(self) -> dict[str, int]:
        """Return the counters, and how long turns have held slots since the kernel started."""
        busy_us = self.slots.busy_ns(self.now_ns) // 1000
        return {**self.counters.statistics(), "turn_slot_us": busy_us}

    def note_member(self, record: ActorRecord) -> None:
        """The actor has come, gone or changed its state: its pool, if it has one, looks at it."""
        if record.parent in self.pools:
            self.pools_due[record.parent] = None

    def mark_dirty(self, actor: int) -> None:
        """Look at the actor's mailbox at the end of this loop turn."""
        self.dirty[actor] = None


def signed(identifier: int) -> int:
    """Return the id as SQLite stores it (64 bits, signed)."""
    return identifier - (1 << 64) if identifier & SESSION_BIT else identifier


def unsigned(stored: int) -> int:
    """Undo ``signed``."""
    return stored + (1 << 64) if stored < 0 else stored
