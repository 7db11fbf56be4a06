"""One actor as the kernel knows it: what is journaled of it, and what is not.

Journaled (``to_row``): identity, spec, supervision, incarnation, process, declarations,
links, monitors. Not journaled: mailbox and open turns (the message table), grants, credits
and the channel (void in a new epoch), counts of this incarnation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from itertools import islice
from typing import Any

import msgpack

from ext.turn import Turn as Turn
from ipc.channel import Channel
from ipc.protocol import Declares, SpawnSpec
from kernel.budget.accounts import Account
from kernel.mailbox import Mailbox
from kernel.pools.pool import Pool


class Status(Enum):
    """Where an actor stands in its life; ``llmos ps`` refines RUNNING."""

    STARTING = "starting"  # a process was asked for, or is being adopted
    RUNNING = "running"  # it has said hello
    BACKOFF = "backoff"  # waits to be restarted
    STOPPING = "stopping"  # told to stop
    STOPPED = "stopped"  # registration kept, no process
    FAILED = "failed"  # its class cannot be loaded
    QUARANTINED = "quarantined"  # crashed too often
    POOL = "pool"  # it has members in place of a process


class Plan(Enum):
    """What to do when the process that is being ended is gone."""

    NONE = "none"
    RESTART = "restart"
    STOP = "stop"
    TERMINATE = "terminate"


@dataclass(slots=True)
class ActorRecord:
    """See the module head."""

    id: int
    name: str
    spec: SpawnSpec
    parent: int  # 0: started by an operator
    mailbox: Mailbox
    incarnation: int = 0
    token_hash: str = ""
    status: Status = Status.STARTING
    is_wanted: bool = True  # False: an operator stopped it; the next kernel leaves it so
    pid: int | None = None
    start_time: int | None = None
    restarts: int = 0
    declares: Declares = field(default_factory=lambda: Declares())
    links: set[int] = field(default_factory=set)
    monitors: set[int] = field(default_factory=set)  # who is told when this one is gone
    subscriptions: dict[str, tuple[str, str]] = field(default_factory=dict)
    spawn_call: int = 0  # the call that spawned it, until its turn has committed
    spawn_turn: int = 0
    last_error: dict[str, Any] | None = None

    # not journaled
    pool: Pool | None = None  # what it is, if it has members in place of a process
    concurrency: int = 1  # how many turns may run at once; as declared
    handles: set[int] = field(default_factory=set)
    state: dict[str, bytes] = field(default_factory=dict)
    state_bytes: int = 0
    open: dict[int, Turn] = field(default_factory=dict)  # granted, in order
    slots: int = 0
    place: Any = None  # what the line of a turn policy keeps of it (ext/turn_line.pyx)
    solo: set[int] = field(default_factory=set)  # redelivered one at a time
    lent: dict[int, list[int]] = field(default_factory=dict)  # receiver -> [messages, bytes]
    account: Account | None = None  # None: neither it nor any actor above it has a budget
    paid: dict[int, list[int]] = field(default_factory=dict)  # of lent, what budget is reserved for
    suspended: set[str] = field(default_factory=set)  # resources it lacks: it is granted nothing
    is_stopped: bool = False  # its process is, for want of one of these
    channel: Channel | None = None
    route: bytes | None = None
    told: int = 0  # the mark it was last told
    resent_to: int = 0  # up to here envelopes were sent again, with the marks they carried
    attempt: int = 0  # number of its connection, as it counts them
    commit: list[Any] = field(default_factory=list)  # envelopes of a commit still arriving
    is_refusing: bool = False
    refused_from: int = 0  # number of the commit that was refused
    sent_before: int = 0  # number of the last envelope it had sent when this kernel adopted it
    said_bye: bool = False
    is_watched: bool = False  # this kernel will hear of its process's exit
    plan: Plan = Plan.NONE
    start_waiters: list[int] = field(default_factory=list)  # calls answered when it is up
    stop_waiters: list[int] = field(default_factory=list)  # calls answered when it is down
    crash_reason: str | None = None
    handled: int = 0
    failures: int = 0
    started_wall_ns: int | None = None

    @property
    def running(self) -> list[Turn]:
        """Return the turns that can have begun: the first ``concurrency`` granted ones."""
        return list(islice(self.open.values(), self.concurrency))

    @property
    def weight(self) -> float:
        """Return its share among those who compete, under policies that weigh; 1 is usual."""
        return self.spec.get("weight", 1.0)

    @property
    def has_process(self) -> bool:
        """Say whether a process exists, or is about to."""
        return self.status in (Status.STARTING, Status.RUNNING, Status.STOPPING)

    @property
    def is_lost(self) -> bool:
        """Say whether the actor has no process and will not get one by itself."""
        if self.status is Status.STOPPED:
            return not self.is_wanted
        return self.status in (Status.QUARANTINED, Status.FAILED)

    def is_stale(self, turn: Turn, sequence: int) -> bool:
        """Say whether an envelope is of an earlier attempt at the turn than the one granted here.

        An agent that has dropped its turns still resends what it had sent of them.
        """
        return sequence <= self.sent_before and not turn.is_adopted

    def has_hook(self, name: str) -> bool:
        """Say whether the class declares the hook."""
        return name in self.declares.get("hooks", ())

    def to_row(self) -> tuple[bytes]:
        """Return the journal row."""
        return (
            msgpack.packb(
                {
                    "name": self.name,
                    "spec": dict(self.spec),
                    "parent": self.parent,
                    "incarnation": self.incarnation,
                    "token_hash": self.token_hash,
                    "status": self.status.value,
                    "is_wanted": self.is_wanted,
                    "plan": self.plan.value,
                    "pid": self.pid,
                    "start_time": self.start_time,
                    "restarts": self.restarts,
                    "declares": dict(self.declares),
                    "links": sorted(self.links),
                    "monitors": sorted(self.monitors),
                    "subscriptions": self.subscriptions,
                    "spawn_call": self.spawn_call,
                    "spawn_turn": self.spawn_turn,
                    "last_error": self.last_error,
                    "said_bye": self.said_bye,
                }
            ),
        )

    @classmethod
    def from_row(cls, identifier: int, row: tuple[bytes], mailbox: Mailbox) -> ActorRecord:
        """Return the record a row describes, without what is not journaled."""
        value = msgpack.unpackb(row[0])
        return cls(
            id=identifier,
            mailbox=mailbox,
            name=value["name"],
            spec=value["spec"],
            parent=value["parent"],
            incarnation=value["incarnation"],
            token_hash=value["token_hash"],
            status=Status(value["status"]),
            is_wanted=value["is_wanted"],
            plan=Plan(value["plan"]),
            pid=value["pid"],
            start_time=value["start_time"],
            restarts=value["restarts"],
            declares=value["declares"],
            links=set(value["links"]),
            monitors=set(value["monitors"]),
            subscriptions={key: tuple(pair) for key, pair in value["subscriptions"].items()},
            spawn_call=value["spawn_call"],
            spawn_turn=value["spawn_turn"],
            last_error=value["last_error"],
            said_bye=value["said_bye"],
            concurrency=value["declares"].get("concurrency", 1),
        )
