"""The base class of what users write.

An actor handles one message at a time (``concurrency`` of them, if it says so). All that a
handler does through ``self`` belongs to that message's turn and takes effect with its commit,
or not at all: DESIGN 4, SEMANTICS.md. Instance attributes are ordinary Python: neither durable
nor rolled back.
"""

from __future__ import annotations

import random as random_module
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar, overload

import structlog

from actors.budget import BudgetView, ChildBudget
from actors.handlers import handler_name
from actors.llm.llm import Llm
from actors.pooling import pool_arguments
from actors.port import FORWARD
from actors.reference import ActorRef, Call
from actors.spawning import Restart, make_spec
from actors.state import TurnState
from actors.turn import Turn, current_turn
from ipc.budget import Budget, read_amount
from ipc.errors import TurnClosedError
from ipc.ids import is_session
from ipc.syscalls import ActorInfo

if TYPE_CHECKING:
    from actors.port import TurnPort

A = TypeVar("A")
Strategy = Literal["one_for_one", "one_for_all", "rest_for_one"]


@dataclass(frozen=True, slots=True)
class ChildExit:
    """What ``on_child_exit`` is told."""

    child: ActorRef[Any]
    name: str
    reason: str
    will_restart: bool


@dataclass(frozen=True, slots=True)
class Down:
    """What ``on_down`` is told: a monitored actor was terminated or is held back."""

    actor: ActorRef[Any]
    name: str
    reason: str


class Actor:
    """Derive from it, mark handlers with ``@receive``; see the module head.

    Class attributes say how the kernel treats the actor and its children:

    concurrency: turns that may run at once (waiting ones included).
    lease_s: how long the event loop may stand still within a turn before the agent counts as
        hanging and is replaced; None: as the kernel's configuration says (60 s).
    strategy, intensity, period_s: as in OTP: which children are restarted with a crashed one,
        and after how many restarts within the period they are held back.
    """

    concurrency: ClassVar[int] = 1
    lease_s: ClassVar[float | None] = None
    strategy: ClassVar[Strategy] = "one_for_one"
    intensity: ClassVar[int] = 5
    period_s: ClassVar[float] = 10.0

    _port: TurnPort  # set before __init__ runs

    # --- hooks ----------------------------------------------------------------------------

    async def on_start(self) -> None:
        """Override: the first turn of each incarnation, before any message."""

    async def on_stop(self) -> None:
        """Override: the last thing before a normal exit; not a turn, ``self.*`` is closed."""

    async def on_child_exit(self, event: ChildExit) -> None:
        """Override: a child ended. The supervisor acts by itself; this is to know of it."""

    async def on_child_budget(self, event: ChildBudget) -> None:
        """Override: a child has used four fifths of a limit. At the limit it is suspended."""

    async def on_down(self, event: Down) -> None:
        """Override: a monitored actor is gone or held back."""

    # --- the turn -------------------------------------------------------------------------

    @property
    def state(self) -> TurnState:
        """Durable values by name; what this turn changes is stored with its commit."""
        return self._turn("state").state

    @property
    def now(self) -> datetime:
        """When the message was accepted (UTC); the same in each attempt at this turn."""
        return datetime.fromtimestamp(self._turn("now").now_ns / 1e9, UTC)

    @property
    def random(self) -> random_module.Random:
        """Random numbers that are the same in each attempt at this turn."""
        return self._turn("random").random

    @property
    def sender(self) -> ActorRef[Any] | None:
        """Who sent the message; None for the kernel and for clients.

        It can be called if this actor holds its handle: from a lookup, a spawn or a message.
        """
        sender = self._turn("sender").envelope.sender
        return None if sender == 0 or is_session(sender) else self._port.make_ref(sender)

    # --- who is who -----------------------------------------------------------------------

    @property
    def ref(self) -> ActorRef[Any]:
        """A reference to this actor, to be passed on in messages."""
        port = self._open_port("ref")
        return ActorRef(port, port.id, name=port.name, actor_class=type(self))

    @cached_property
    def log(self) -> Any:
        """A structlog logger that knows whose it is."""
        port = self._open_port("log")
        return structlog.get_logger().bind(actor=port.name, actor_id=port.id)

    @cached_property
    def llm(self) -> Llm:
        """Language models. In a turn each completion is a recorded call; see ``Llm``."""
        return Llm(self._open_port("llm"))

    @overload
    async def lookup(self, name: str) -> ActorRef[Any]: ...
    @overload
    async def lookup(self, name: str, actor_class: type[A]) -> ActorRef[A]: ...
    async def lookup(self, name: str, actor_class: type[Any] | None = None) -> ActorRef[Any]:
        """Return a reference by name. actor_class: rebuilds answers by its type hints.

        Raises:
            UnknownActorError, AccessRuleError.
        """
        found = await self._port.system("lookup", {"name": name})
        return ActorRef(self._port, found["actor"], name=found["name"], actor_class=actor_class)

    @overload
    async def spawn(self, target: type[A], *args: Any, **rest: Any) -> ActorRef[A]: ...
    @overload
    async def spawn(self, target: str, *args: Any, **rest: Any) -> ActorRef[Any]: ...
    async def spawn(
        self,
        target: type[Any] | str,
        *args: Any,
        name: str | None = None,
        restart: Restart = "permanent",
        mailbox_messages: int | None = None,
        mailbox_bytes: int | None = None,
        max_attempts: int | None = None,
        priority: int | None = None,
        weight: float | None = None,
        rlimits: Mapping[str, int] | None = None,
        environment: Mapping[str, str] | None = None,
        budget: Budget | None = None,
        reserve: Mapping[str, float | str] | None = None,
        cpu_limit: float | None = None,
        **kwargs: Any,
    ) -> ActorRef[Any]:
        """Start a child and return when it is up.

        target: a class, "module:Class" or "path/to/file.py:Class". args, kwargs: of its
            constructor. restart: permanent (always), transient (after a crash), temporary.
            weight: its share of turns and LLM work where policies weigh: 0.001 to 1000, usually 1.
        reserve: what it has a right to while it lives, such as {"cpu": 0.5, "memory": "512MiB"}.
        cpu_limit: CPUs it may use at most, where control groups can be had.
        budget: what the child and all below it may use; set aside from what is left to this actor.
        Raises:
            BadSpecError: its class cannot be loaded. NameTakenError. SchemaError.
            BadBudgetError, InfeasibleBudgetError: more than there is. Nothing was started.
            BadPolicyError: the weight is out of range. ReservationError: which resource has too
            little, and by how much. UnknownResourceError.
        """
        port = self._open_port("spawn")
        spec = make_spec(
            target,
            args,
            kwargs,
            naming=port.name_class,
            name=name,
            restart=restart,
            mailbox_messages=mailbox_messages,
            mailbox_bytes=mailbox_bytes,
            max_attempts=max_attempts,
            priority=priority,
            weight=weight,
            rlimits=rlimits,
            environment=environment,
            budget=budget,
            reserve=reserve,
            cpu_limit=cpu_limit,
        )
        born = await port.system("spawn", {"spec": spec})
        actor_class = target if isinstance(target, type) else None
        return ActorRef(port, born["actor"], name=born["name"], actor_class=actor_class)

    @overload
    async def spawn_pool(self, target: type[A], *args: Any, **rest: Any) -> ActorRef[A]: ...
    @overload
    async def spawn_pool(self, target: str, *args: Any, **rest: Any) -> ActorRef[Any]: ...
    async def spawn_pool(self, target: type[Any] | str, *args: Any, **rest: Any) -> ActorRef[Any]:
        """Start a pool of actors as a child and return when its minimum is up.

        The reference is used like that of one actor; each message goes to one member.
        target, args: as for ``spawn``. rest: ``minimum`` = 1 and ``maximum`` = minimum members;
            ``balance``: round_robin, least_outstanding (usual), response_time, p2c, prefix or
            skill; ``skills``: a list of words, or one such list a member; ``high`` and ``low``:
            unfinished messages a member above and below which it grows and shrinks,
            ``shrink_after_s``; the options of ``spawn`` but restart; else the constructor's own.
        Raises:
            BadSpecError: its class cannot be loaded. UnknownPolicyError. BadPolicyError.
            NameTakenError. SchemaError.
        """
        port = self._open_port("spawn_pool")
        arguments = pool_arguments(target, args, rest, port.name_class)
        born = await port.system("pool_create", arguments)
        actor_class = target if isinstance(target, type) else None
        return ActorRef(port, born["actor"], name=born["name"], actor_class=actor_class)

    async def children(self) -> list[ActorInfo]:
        """Return what the kernel knows of this actor's children, first started first."""
        found: list[ActorInfo] = await self._port.system("children", {})
        return found

    async def budget(self) -> BudgetView:
        """Return what this actor and those below it have used, and what is left."""
        return BudgetView(await self._port.system("budget", {}))

    async def top_up(self, child: ActorRef[Any], **amounts: Any) -> None:
        """Raise limits of a child, from what is left to this actor: ``tokens=5_000``.

        Negative amounts lower them, as far as they are not used.
        Raises:
            BadBudgetError, InfeasibleBudgetError: nothing was changed.
        """
        changes = {
            name: read_amount(name, value, is_signed=True) for name, value in amounts.items()
        }
        await self._port.system("budget_top_up", {"actor": child.id, "amounts": changes})

    async def stop_child(self, child: ActorRef[Any]) -> None:
        """Terminate a child and all below it."""
        await self._port.system("stop_child", {"actor": child.id})

    # --- effects --------------------------------------------------------------------------

    async def publish(self, topic: str, *args: Any, **kwargs: Any) -> None:
        """Tell everybody who is subscribed to the topic at the commit."""
        self._open_port("publish").publish(topic, args, kwargs)

    async def send_after(
        self, delay_s: float, what: Callable[..., Any] | Call | str, *args: Any, **kwargs: Any
    ) -> int:
        """Set a durable timer; return its number, for ``cancel_timer``.

        what: a handler of this actor (``self.tick`` or "tick") with its arguments, or a call
            that is to be told to another (``ref.method(...)``).
        """
        port = self._open_port("send_after")
        if isinstance(what, Call):
            return port.set_timer(delay_s, self._timer_call(what))
        name = what if isinstance(what, str) else handler_name(what)
        return port.set_timer(delay_s, [name, list(args), kwargs])

    async def cancel_timer(self, timer: int) -> None:
        """Cancel a timer; nothing happens if it has fired."""
        self._open_port("cancel_timer").cancel_timer(timer)

    async def link(self, other: ActorRef[Any]) -> None:
        """Tie fates: when either terminates abnormally, the other is terminated too."""
        self._open_port("link").watch("link", other.id)

    async def unlink(self, other: ActorRef[Any]) -> None:
        """Undo ``link``."""
        self._open_port("unlink").watch("unlink", other.id)

    async def monitor(self, other: ActorRef[Any]) -> None:
        """Have ``on_down`` called when the other is terminated or held back."""
        self._open_port("monitor").watch("monitor", other.id)

    async def demonitor(self, other: ActorRef[Any]) -> None:
        """Undo ``monitor``."""
        self._open_port("demonitor").watch("demonitor", other.id)

    # --- parts ----------------------------------------------------------------------------

    def _turn(self, operation: str) -> Turn:
        return current_turn(self._open_port(operation).name, f"self.{operation}")

    def _open_port(self, operation: str) -> TurnPort:
        port: TurnPort | None = self.__dict__.get("_port")
        if port is None:
            raise TurnClosedError(operation=f"self.{operation}", actor=type(self).__name__)
        return port

    def _timer_call(self, call: Call) -> list[Any]:
        call.is_sent = True
        if call.ref.id == self._port.id:
            return [call.method, list(call.args), call.kwargs]
        return [FORWARD, [call.ref, call.method, list(call.args), call.kwargs], {}]


def hooks_of(actor_class: type[Actor]) -> list[str]:
    """Return the hooks that the class overrides and the kernel must know of."""
    names = ("on_start", "on_child_exit", "on_child_budget", "on_down")
    return [name for name in names if getattr(actor_class, name) is not getattr(Actor, name)]
