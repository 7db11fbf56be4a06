"""What travels between a peer (agent or client) and the kernel, and in which order.

What it is not: the byte layout (ipc/envelope.py) or the numbering (ipc/channel.py).
"Body" below is msgpack by ipc/payload.py. Kernel = actor id 0.

Handshake, unnumbered
    HELLO     peer to kernel, the first envelope of each connection. Body: Hello. Until WELCOME
              an agent begins no turn: a new kernel epoch takes those in ``open`` for begun, and
              grants all others again.
    WELCOME   kernel to peer. Body: Welcome. The peer then resends what is above ``taken``.
    REJECT    kernel to peer. Body: error. FencedError: the process must end itself.
    ACK       either way; ``acknowledged``, and from the kernel message = the number of the last
              envelope it has sent before: who has not taken that one ignores the mark.
              With WANT_ACK the kernel asks whether the peer's event loop moves, which answers
              with an ACK at once; an agent that does not within its lease is killed.
    TICK      an agent's watchdog thread, over a connection of its own, when the event loop
              has not moved. sender = actor, message = incarnation, turn = open turn,
              index = milliseconds the loop has been stuck, payload = token.

``acknowledged`` is cumulative, rides on every envelope, and is applied after the
envelope's own content; that of a numbered envelope which is not taken, because one before it is
missing, is not applied: a REFUSED or HELD may be on its way. A repeat is acknowledged again:
the mark that was told before may have been lost. The kernel acknowledges only what
is journaled (or refused by number). WANT_ACK asks for an ACK at the end of this kernel loop
turn instead of lazily.

Messages, numbered
    TELL      body: [method, args, kwargs], to a pool also [method, args, kwargs, hints]: a map of
              affinity, apart, skill, which say what member is to have it. Outside turns it is sent
              by itself; correlation = the sender's number for it. Kernel to agent: message = its
              id, a granted turn.
    ASK       like TELL; correlation = the call's number; inside a turn also turn and digest.
              STREAM: the asker reads items; index = first credit. Receiver 0: a system call.
              Kernel to agent: message = its id; correlation = when it was accepted (wall-clock
              ns), the same for every attempt; likewise for TELL.
    REPLY     body: the result. In a commit: the answer to the ask that is being handled.
              Kernel to asker: correlation = the call. For a stream: the end, index = item count.
    ERROR     as REPLY, body: error (ipc.errors.to_wire).
    ITEM      callee to kernel: turn = the turn, index = item number from 0, body: the item.
              Kernel to asker: correlation = the call.
    CANCEL    asker to kernel: correlation = the call. Kernel to callee: turn = the turn to stop.
              The callee answers with a COMMIT that has flag CANCELLED. Agent to kernel also with
              the correlation of a RESERVE: the turn has got that room otherwise.
    STREAM_CREDIT  asker to kernel: correlation = the call, index = further items it will take.
              Kernel to callee: turn = the turn, index likewise.
    HELD      kernel to client: correlation = a tell that waits for room; not yet accepted
              although acknowledged (it is journaled and keeps its place). In a new kernel
              epoch it is accepted: nobody stands in line for the client any more.
    ACCEPTED  kernel to client: correlation = a held tell that has room now. Of HELD and ACCEPTED
              one may speak of several: message = how many tells numbered after it are meant too.
    REFUSED   kernel to peer: correlation = what was refused, or turn = the commit that was.
              Body: error. Nothing of it was applied.
    BYE       peer to kernel: the farewell of a normal exit, the last numbered envelope. With
              flag FAILED the actor's class could not be loaded; body: error.
    STOP      kernel to agent: finish the open turns, run on_stop, say BYE, end. index =
              milliseconds until the process is killed.

A turn's commit, numbered, agent to kernel
    COMMIT    turn = message id of the turn, index = number of effect envelopes that follow
              directly (numbered like all). FAILED: the handler raised, body: error, no effects.
              CANCELLED: the turn was stopped on request, no effects. REPLIES: body, handles
              and attachments are those of the reply, which is then no effect of its own.
    effects   TELL (receiver, body, refs) · REPLY / ERROR · STATE (body: {key: bytes | nil}) ·
              TIMER (correlation = timer id, deadline = delay ns, payload = a TELL's payload to
              itself; CANCELLED: cancel it) · PUBLISH (body: [topic, payload bytes]) ·
              WATCH (body: [operation, ...], operations in ``WATCH_OPERATIONS``).
    A PUBLISH's payload is that of a TELL: method "$event", args [topic, ...].
    After REFUSED with a turn the agent drops its turns and grants, sends RESUME, gets STATE
    (body: the whole {key: bytes}) and then its messages again. Commits sent before RESUME
    are refused too. With STATE, nothing is lent to the agent any more.

Room for tells made inside turns, numbered
    RESERVE   agent to kernel: receiver, correlation, body: [messages, bytes]. NOWAIT: refuse
              instead of waiting. NO_BUDGET_WAIT: refuse if only the sender's budget lacks it.
    CREDIT    kernel to agent: receiver, correlation, body: [messages, bytes] lent (at least what
              was asked). Unused credit stays lent after the turn.
    RECALL    kernel to agent: receiver; others wait for that room.
    RETURN    agent to kernel: receiver, body: [messages, bytes] given back.

Engines (drivers that compute completions): ENGINE, PREPARE, PREPARED, PLAN, REPORT, CALL, PIECE,
DONE; numbered; ipc/engine.py tells their bodies and their order.

Credits, grants and kernel-to-agent numbers are void in a new kernel epoch. What a turn had
reserved by then is admitted over the limit, and counted.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Final, NotRequired

from typing_extensions import TypedDict  # typing's own cannot be checked by pydantic before 3.12

PROTOCOL_VERSION = 1
KERNEL_ID = 0
SESSION_BIT = 1 << 63
DEFAULT_PRIORITY = 4


class Kind(IntEnum):
    """What an envelope is; the module head tells each one's fields."""

    HELLO = 1
    WELCOME = 2
    REJECT = 3
    ACK = 4
    BYE = 5
    TICK = 6
    STOP = 7

    TELL = 10
    ASK = 11
    REPLY = 12
    ERROR = 13
    ITEM = 14
    CANCEL = 15
    STREAM_CREDIT = 16
    HELD = 17
    ACCEPTED = 18
    REFUSED = 19

    COMMIT = 20
    STATE = 21
    TIMER = 22
    PUBLISH = 23
    WATCH = 24
    RESUME = 25

    RESERVE = 30
    CREDIT = 31
    RECALL = 32
    RETURN = 33

    ENGINE = 40
    PREPARE = 41
    PREPARED = 42
    PLAN = 43
    REPORT = 44
    CALL = 45
    PIECE = 46
    DONE = 47


UNNUMBERED = frozenset({Kind.HELLO, Kind.WELCOME, Kind.REJECT, Kind.ACK, Kind.TICK})
EFFECTS = frozenset(
    {Kind.TELL, Kind.REPLY, Kind.ERROR, Kind.STATE, Kind.TIMER, Kind.PUBLISH, Kind.WATCH}
)


class Flag:
    """Bits of the header's flags field; plain ints, since an IntFlag's arithmetic costs 2 us."""

    HAS_REFS: Final = 1  # the payload begins with a reference table
    NOWAIT: Final = 2  # refuse instead of waiting for room
    STREAM: Final = 4  # the ask wants items
    FAILED: Final = 8  # COMMIT, BYE: the body is an error
    CANCELLED: Final = 16  # COMMIT: stopped on request; TIMER: cancel it
    WANT_ACK: Final = 32  # acknowledge at the end of this loop turn
    KEYED: Final = 64  # a client's message: digest is its idempotency key (24 h)
    REDELIVERED: Final = 128  # to an agent: an earlier attempt at this turn ended early
    RECORDED: Final = 256  # to a peer: this answer was recorded, not made anew
    SYSTEM: Final = 512  # to an agent: a message of the kernel's own
    NO_BUDGET_WAIT: Final = 1024  # ASK, RESERVE: refuse instead of waiting for budget
    REPLIES: Final = 2048  # COMMIT: the body is the answer to the ask that is being handled


WATCH_OPERATIONS = {
    "link": '["link", actor]: when either terminates abnormally, the other is terminated too',
    "unlink": '["unlink", actor]',
    "monitor": '["monitor", actor]: a $down message when it terminates or is quarantined',
    "demonitor": '["demonitor", actor]',
    "subscribe": '["subscribe", topic, handler, overflow]: overflow is wait or dead_letter',
    "unsubscribe": '["unsubscribe", topic]',
}

# Methods of the kernel's own messages to agents (flag SYSTEM), with their arguments.
ON_START = "$start"  # []; once per incarnation, first of all, if the class has on_start
ON_CHILD_EXIT = "$child_exit"  # [child id, name, reason, will_restart]
ON_CHILD_BUDGET = "$child_budget"  # [child id, name, resource, used, limit]; at four fifths
ON_DOWN = "$down"  # [actor id, name, reason]; a monitor fired


class Hello(TypedDict):
    """Who a peer claims to be, and where it stands."""

    role: str  # "agent" | "client"
    protocol: int
    actor: int  # actor id, or the session id a client made up (bit 63 set)
    incarnation: int  # agents; 0 for clients
    token: str
    generation: int | None  # of the journal, as last told; None at first
    epoch: int | None  # kernel epoch last welcomed in
    taken: int  # highest kernel sequence taken in that epoch
    open: list[int]  # turns begun whose commit is not known to be covered
    pid: NotRequired[int]  # agents: of their process, and when it started (clock ticks since
    start_time: NotRequired[int]  # boot), so that a kernel that never knew it can adopt it
    sent: NotRequired[int]  # highest sequence sent so far, whether taken or not
    attempt: NotRequired[int]  # which connection of this process; a lower one comes too late
    declares: NotRequired[Declares]  # agents
    commits: NotRequired[list[list[int]]]  # of turns in ``open``: [turn, number of its COMMIT]


class Declares(TypedDict, total=False):
    """What an actor's class says of itself; told in HELLO."""

    hooks: list[str]  # "on_start", "on_child_exit", "on_child_budget", "on_down"
    concurrency: int
    lease_s: float
    subscriptions: list[list[str]]  # [topic, handler, overflow]
    handlers: dict[str, str]  # name -> signature, for `llmos inspect` and completion
    strategy: str  # one_for_one | one_for_all | rest_for_one
    intensity: int
    period_s: float
    driver: str  # "engine": it computes completions (ipc/engine.py)


class Welcome(TypedDict):
    """The kernel's answer to HELLO."""

    epoch: int
    generation: int
    actor: int
    name: str
    incarnation: int
    taken: int  # highest sequence of this peer that is journaled
    resumed: bool  # same epoch: grants and credits still stand
    state: dict[str, bytes]  # durable state, when this incarnation says hello for the first time
    limits: Limits


class Limits(TypedDict):
    """What a peer must keep to; beyond it the peer waits or gets a typed error."""

    window_messages: int  # unacknowledged envelopes
    window_bytes: int
    turn_messages: int  # effects of one turn
    turn_bytes: int
    turn_calls: int  # recorded calls of one turn
    payload_bytes: int
    grace_s: float  # how long to outlive a kernel that does not come back


RLIMITS = ("cpu_s", "files", "memory_bytes", "processes")  # what an agent's process can be held to


class SpawnSpec(TypedDict, total=False):
    """Argument of the system call ``spawn``; journaled as it is."""

    target: str  # what the user wrote: module:Class or path/to/file.py:Class
    path: str | None  # absolute path of the file, if it was one
    module: str | None
    qualname: str
    cwd: str
    sys_path: list[str]  # of the spawner, so that its modules are found again
    arguments: bytes  # [args, kwargs] of the constructor, as the SDK stores values
    handles: list[int]  # actors that the arguments refer to; the new actor gets their handles
    name: str | None
    restart: str  # permanent | transient | temporary
    mailbox_messages: int
    mailbox_bytes: int
    max_attempts: int
    priority: int
    budget: dict[str, int]  # limits by resource, in smallest units (ipc/budget.py)
    weight: float  # its share of turns under fair policies, and of CPUs; 0.001 to 1000, else 1
    reserve: dict[str, int]  # by resource, in its units (ipc/resources.py); kept while it lives
    cpu_limit: int  # thousandths of a CPU; kept where control groups can be had
    rlimits: dict[str, int]  # by the names of RLIMITS
    environment: dict[str, str]


def call_body(method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    """Return the body of a TELL or ASK."""
    return [method, list(args), kwargs]
