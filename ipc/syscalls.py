"""System calls: asks to actor 0. Body: [name, [], {arguments}]; the answer is a dict or list.

Inside a turn they are recorded calls like any other ask. ``who`` says who may call: an agent
(for itself and what it holds handles of) or a client with the operator's token (for all).
An actor is named in arguments by id (int) or name (str); clients may use both, agents ids of
handles they hold. Errors are those of ipc/errors.

    name              who     arguments                      answer
    spawn             both    spec: SpawnSpec                {"actor", "name"} when it said hello
                              [, parent: clients]            BadSpecError if its class cannot load;
                                                             a living child of the same parent with
                                                             the same name and spec is returned
    lookup            both    name                           {"actor", "name"}; grants the handle
    children          both    [actor]                        [ActorInfo]
    stop_child        agent   actor                          {} when terminated
    kill              client  actor [, tree: bool = true]    {"terminated": [names]}
    stop              client  actor                          {} once stopped; registration is kept
    restart           client  actor                          {"actor", "incarnation"} when it is up
    ps                client                                 [ActorInfo]
    inspect           client  actor                          ActorDetail
    status            client                                 KernelStatus
    statistics        client                                 {counter: number}
    dead_letters      client  [actor, limit = 100]           [DeadLetter], newest first
    dead_letter       client  number                         DeadLetter with body bytes
    retry_letter      client  number                         {"message"}: it enters at the tail
    drop_letter       client  number                         {}
    budget            both    [actor]                        [BudgetInfo] (ipc/budget.py): an
                                                             agent's own or a child's; a client's:
                                                             a tree or all, parents first
    budget_set        client  actor, limits: {resource:      [BudgetInfo]; in smallest units; nil
                              amount or nil}                 takes a limit away
    budget_top_up     both    actor, amounts: {resource:     [BudgetInfo]; limits change by so
                              change}                        much; agents: of a child
    policies          client                                 [PolicyInfo]: of turns and of llm
    policy_set        client  kind, name                     PolicyInfo; holds over restarts, before
                                                             the configuration
    policy_reset      client  kind                           PolicyInfo; the configuration counts
    grants            client  [keep: so many from now on]    {"kept", "grants": [Grant]} until now
    resources         client                                 ResourceReport (ipc/resources.py)
    resource_add      client  name [, amount]                ResourceInfo: a new one, more of one,
                                                             one more engine, or one taken back
    resource_drain    client  name                           ResourceInfo: it takes no new work
    resource_remove   client  name [, amount]                ResourceInfo: less of it, or all; an
                                                             engine leaves when it is idle
    shutdown          client                                 {} ; then all agents stop in order

A pool is an actor without a process, whose members handle what is sent to it
(kernel/pools/pool.py).

    pool_create       both    spec [, minimum, maximum,      {"actor", "name"} when as many as the
                              balance, skills, high, low,    minimum have said hello; spec: of the
                              shrink_after_s]                members, with the pool's name
    pools             client                                 [PoolInfo]
    pool              both    pool                           PoolDetail
    pool_resize       both    pool [, minimum, maximum,      PoolInfo; agents: of pools they created
                              high, low, shrink_after_s]
    pool_remove       both    pool [, force]                 {"terminated": [names]}; refused while
                                                             it has messages, unless forced
"""

from __future__ import annotations

from typing import Any, TypedDict


class ActorInfo(TypedDict):
    """One line of ``llmos ps``."""

    actor: int
    name: str
    target: str  # as it was given at spawn
    parent: int | None  # None: started by an operator
    state: str  # starting ready running waiting idle stopping stopped failed quarantined
    waiting_for: list[str]  # e.g. ["ask 12 Billing"]
    incarnation: int
    restarts: int
    pid: int | None
    mailbox: int  # messages
    mailbox_bytes: int
    handled: int  # turns committed by this incarnation
    failures: int  # handler errors and crashes
    state_bytes: int
    started_wall_ns: int | None
    last_error: str | None


class ActorDetail(ActorInfo):
    """``llmos inspect``."""

    spec: dict[str, Any]
    declares: dict[str, Any]
    handlers: dict[str, str]
    state_keys: dict[str, int]  # key -> bytes
    links: list[int]
    monitors: list[int]
    subscriptions: list[list[str]]
    handles: list[int]
    timers: list[dict[str, Any]]  # id, due_wall_ns
    open_turns: list[dict[str, Any]]  # message, sender, attempts, calls
    queued: list[dict[str, Any]]  # first 20: message, sender, priority, method bytes of the body
    dead_letters: int
    log_path: str | None


class KernelStatus(TypedDict):
    """``llmos status``."""

    pid: int
    version: str
    node: int
    generation: int
    epoch: int
    started_wall_ns: int
    durability: str
    actors: int
    running: int
    sessions: int
    pending_messages: int
    pending_bytes: int
    dead_letters: int
    journal_bytes: int
    rss_bytes: int


class PolicyInfo(TypedDict):
    """How one kind of work is scheduled: ``llmos policy show``."""

    kind: str  # turns | llm
    policy: str  # the one in use
    source: str  # configuration | set
    configured: str  # what the configuration says
    waiting: int  # for a slot, or for an engine to compute them
    known: dict[str, str]  # policies there are, and what each does


class Grant(TypedDict):
    """A slot that was given."""

    number: int
    wall_ns: int
    given: str  # message: a turn began; answer: one went on
    actor: int
    turn: int
    priority: int
    program: str


class DeadLetter(TypedDict):
    """A message that could not be handled."""

    number: int
    message: int
    sender: int
    receiver: int
    receiver_name: str
    reason: str  # max_attempts | no_handler | receiver_terminated | overflow | expired | unpaid
    error: dict[str, Any] | None  # as ipc.errors.to_wire
    attempts: int
    died_wall_ns: int
    size: int
    body: bytes | None  # the payload, only from ``dead_letter``


class PoolInfo(TypedDict):
    """One line of ``llmos pool ls``."""

    actor: int
    name: str
    target: str
    parent: int | None
    balance: str  # kernel/policy/balance_names.py
    minimum: int
    maximum: int
    members: int
    running: int
    draining: int  # get no more messages, and end when they have none
    lost: int  # quarantined, failed or stopped by an operator
    unfinished: int  # messages
    waiting: int  # for room
    routed: int  # messages given to members since the kernel started
    taken_over: int  # messages that went from members that were lost to others
    passed_on: int  # messages that went from busy members to idle ones
    kept_together: int  # of them, where others of their affinity were


class PoolMember(TypedDict):
    """One member of a pool, as ``llmos pool show`` tells it."""

    actor: int
    name: str
    state: str
    outstanding: int
    response_ms: float | None  # peak average, None: nothing answered yet
    handled: int
    failed: int
    restarts: int
    skills: list[str]
    scores: dict[str, float]  # skill -> expected share of successes


class PoolDetail(PoolInfo):
    """``llmos pool show``."""

    member_list: list[PoolMember]
