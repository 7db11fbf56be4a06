"""References: how one actor, or a script, names another and calls it.

A reference holds an id and the port through which this process reaches the kernel; it is not
an address. References travel inside messages, compare by id and cannot be pickled.

``ref.method(...)`` makes a ``Call``. Nothing is sent until it is awaited (the answer), iterated
(the items of a stream) or, from a thread that runs no event loop, ``.result()`` is asked for.
Names that start with ``_`` and those in ``RESERVED`` belong to the reference itself.

Cost: a call object and a bound method, below 1 us.
"""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator, Awaitable, Generator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar, cast, get_args

from actors.scatter import WINDOW, Gathered, scatter
from ipc.errors import UsageError
from ipc.ids import short

A_co = TypeVar("A_co", covariant=True)

Verb = Literal["ask", "tell", "stream"]
OnBudget = Literal["wait", "raise"]

RESERVED = frozenset(
    {"api", "actor_class", "gather", "id", "name", "options", "scatter", "stream", "tell"}
)
MAX_HINT = 255  # characters
MAX_DEADLINE_S = 10 * 365 * 86_400.0  # ten years: the kernel takes no more


@dataclass(frozen=True, slots=True)
class Options:
    """What can be set on one message; None means: inherited, or the usual."""

    priority: int | None = None  # 0 = most urgent .. 7
    deadline: float | None = None  # seconds for the answer, and for all that is done for it
    nowait: bool = False  # MailboxFullError, BudgetExceededError instead of waiting
    key: str | None = None  # clients: sent at most once for this key in 24 hours
    on_budget: OnBudget = "wait"  # raise: BudgetExceededError instead of waiting for budget
    hints: Mapping[str, str] | None = None  # to a pool: affinity, apart, skill

    def __post_init__(self) -> None:
        for name, hint in (self.hints or {}).items():
            if not isinstance(hint, str) or not 0 < len(hint) <= MAX_HINT:
                raise UsageError(reason=f"{name} is a text of 1 to {MAX_HINT} characters")
        priority, deadline = self.priority, self.deadline
        if priority is not None and not (isinstance(priority, int) and 0 <= priority <= 7):
            raise UsageError(reason=f"a priority is 0 (most urgent) to 7, not {self.priority!r}")
        if deadline is not None and not (
            isinstance(deadline, (int, float)) and 1e-9 <= deadline <= MAX_DEADLINE_S
        ):
            needs = "in seconds, above 0, at most ten years"
            raise UsageError(reason=f"a deadline is {needs}, not {deadline!r}")
        if self.key is not None and not isinstance(self.key, str):
            raise UsageError(reason=f"a key is a text, not {self.key!r}")
        if self.on_budget not in get_args(OnBudget):
            raise UsageError(reason=f"on_budget is wait or raise, not {self.on_budget!r}")


PLAIN = Options()


class Port(Protocol):
    """What a reference needs of the process it lives in: the agent's runtime, or a client."""

    def invoke(self, call: Call) -> Any:
        """Return what ``ref.method(...)`` gives here: the call, or in sync clients its outcome."""
        ...

    def ask(self, call: Call) -> Awaitable[Any]:
        """Send; the awaitable gives the answer."""
        ...

    def tell(self, call: Call) -> Awaitable[None]:
        """Send; the awaitable ends when the message is safe as DESIGN 4a says."""
        ...

    def iterate(self, call: Call) -> AsyncIterator[Any]:
        """Send as a stream; the iterator gives the items."""
        ...

    def block(self, call: Call) -> Any:
        """Do ``await call`` from a thread that runs no event loop."""
        ...


class Call:
    """A message that has been written but not sent; see the module head."""

    __slots__ = ("args", "is_sent", "kwargs", "method", "options", "ref", "verb")

    def __init__(
        self,
        ref: ActorRef[Any],
        method: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: Options = PLAIN,
        verb: Verb = "ask",
    ) -> None:
        self.ref = ref
        self.method = method
        self.args = args
        self.kwargs = kwargs
        self.options = options
        self.verb = verb
        self.is_sent = False

    def __await__(self) -> Generator[Any, None, Any]:
        self.is_sent = True
        port = self.ref._port
        return (port.tell(self) if self.verb == "tell" else port.ask(self)).__await__()

    def __aiter__(self) -> AsyncIterator[Any]:
        self.is_sent = True
        if self.verb == "tell":
            raise UsageError(reason="a tell has no items: iterate over ref.method(...)")
        return self.ref._port.iterate(self)

    def result(self) -> Any:
        """Send and wait for the answer; for threads (a ``def`` handler) that run no loop."""
        self.is_sent = True
        return self.ref._port.block(self)

    def __repr__(self) -> str:
        verb = "" if self.verb == "ask" else f".{self.verb}"
        return f"<call {self.ref!r}{verb}.{self.method}>"

    def __del__(self) -> None:
        if not self.is_sent:
            warnings.warn(f"{self!r} was never awaited: not sent", RuntimeWarning, stacklevel=2)


def call_body(call: Call) -> list[Any]:
    """Return the body of a call's message (ipc/protocol.py)."""
    body = [call.method, call.args, call.kwargs]
    if call.options.hints is not None:
        body.append(call.options.hints)
    return body


class ScatterCall(Call):
    """``ref.scatter.method(items, ...)``: asks that have not been sent; await it for all of them.

    Its first argument holds the items, of which each ask gets one in its place.
    """

    __slots__ = ("is_strict", "window")

    is_strict: bool
    window: int

    def __await__(self) -> Generator[Any, None, Any]:
        self.is_sent = True
        return self._run().__await__()

    def __aiter__(self) -> AsyncIterator[Any]:
        self.is_sent = True
        raise UsageError(reason="await a scatter: its answers come together")

    async def _run(self) -> Gathered | list[Any]:
        items, *rest = self.args
        gathered = await scatter(items, lambda item: self._ask(item, *rest), self.window)
        return gathered.all() if self.is_strict else gathered

    def _ask(self, *args: Any) -> Call:
        return Call(self.ref, self.method, args, self.kwargs, self.options)


class Scatter:
    """``ref.scatter`` and ``ref.gather``; call it to say how many asks may be outstanding."""

    __slots__ = ("_is_strict", "_ref", "_window")

    def __init__(
        self, ref: ActorRef[Any], *, is_strict: bool = False, window: int = WINDOW
    ) -> None:
        self._ref = ref
        self._is_strict = is_strict
        self._window = window

    def __call__(self, *, window: int) -> Scatter:
        """Return the same with another bound: ``ref.scatter(window=8).method(items)``."""
        return Scatter(self._ref, is_strict=self._is_strict, window=window)

    def __getattr__(self, name: str) -> ScatterMethod:
        if name.startswith("_"):
            raise AttributeError(name)
        return ScatterMethod(self._ref, name, self._is_strict, self._window)


class ScatterMethod:
    """``ref.scatter.method``: call it with the items, and what else each ask is to be given."""

    __slots__ = ("_is_strict", "_name", "_ref", "_window")

    def __init__(self, ref: ActorRef[Any], name: str, is_strict: bool, window: int) -> None:
        self._ref = ref
        self._name = name
        self._is_strict = is_strict
        self._window = window

    def __call__(self, items: Iterable[Any], /, *args: Any, **kwargs: Any) -> Any:
        ref = self._ref
        call = ScatterCall(ref, self._name, (items, *args), kwargs, ref._options)
        call.is_strict, call.window = self._is_strict, self._window
        return ref._port.invoke(call)


class Method:
    """``ref.method``: call it to make a Call."""

    __slots__ = ("_name", "_ref", "_verb")

    def __init__(self, ref: ActorRef[Any], name: str, verb: Verb) -> None:
        self._ref = ref
        self._name = name
        self._verb = verb

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        ref = self._ref
        return ref._port.invoke(Call(ref, self._name, args, kwargs, ref._options, self._verb))

    def __repr__(self) -> str:
        return f"<method {self._name} of {self._ref!r}>"


class Methods:
    """``ref.tell`` and ``ref.stream``: the handlers by name, sent in that way."""

    __slots__ = ("_ref", "_verb")

    def __init__(self, ref: ActorRef[Any], verb: Verb) -> None:
        self._ref = ref
        self._verb = verb

    def __getattr__(self, name: str) -> Method:
        if name.startswith("_"):
            raise AttributeError(name)
        return Method(self._ref, name, self._verb)


class ActorRef(Generic[A_co]):
    """Names an actor of class ``A_co``; see the module head.

    ``ref.api`` is the reference itself, typed as the actor's class, so that editors and type
    checkers know the handlers: ``label = await ref.api.ticket("...")``.
    """

    __slots__ = ("__weakref__", "_actor_class", "_name", "_options", "_port", "id")

    id: int

    def __init__(
        self,
        port: Port,
        identifier: int,
        *,
        name: str | None = None,
        actor_class: type[A_co] | None = None,
        options: Options = PLAIN,
    ) -> None:
        self._port = port
        self.id = identifier
        self._name = name
        self._actor_class = actor_class
        self._options = options

    @property
    def api(self) -> A_co:
        """The same reference, typed as the actor's class."""
        return cast("A_co", self)

    @property
    def name(self) -> str | None:
        """The actor's name, if it is known here (a lookup or a spawn gives it)."""
        return self._name

    @property
    def actor_class(self) -> type[A_co] | None:
        """The class, if it is known here: then answers are rebuilt by its type hints."""
        return self._actor_class

    @property
    def tell(self) -> Methods:
        """``await ref.tell.method(...)``: send without waiting for an answer."""
        return Methods(self, "tell")

    @property
    def stream(self) -> Methods:
        """``for item in ref.stream.method(...)``: the items of a streaming handler."""
        return Methods(self, "stream")

    @property
    def scatter(self) -> Scatter:
        """``await ref.scatter.method(items)``: an ask an item; ``Gathered``, failures included."""
        return Scatter(self)

    @property
    def gather(self) -> Scatter:
        """``await ref.gather.method(items)``: an ask an item; the answers, or an error."""
        return Scatter(self, is_strict=True)

    def options(
        self,
        *,
        priority: int | None = None,
        deadline: float | None = None,
        nowait: bool = False,
        key: str | None = None,
        on_budget: OnBudget = "wait",
        affinity: str | None = None,
        apart: str | None = None,
        skill: str | None = None,
    ) -> ActorRef[A_co]:
        """Return the same reference with other options (see ``Options``).

        affinity, apart, skill: which member of a pool is to have the message: the one that has
            others of the same affinity (in order), one that has no other with the same ``apart``,
            one that declares the skill. Actors that are no pools take no notice.
        """
        said = {"affinity": affinity, "apart": apart, "skill": skill}
        hints = {name: hint for name, hint in said.items() if hint is not None}
        return self._with(Options(priority, deadline, nowait, key, on_budget, hints or None))

    def _with(self, options: Options) -> ActorRef[A_co]:
        return ActorRef(
            self._port, self.id, name=self._name, actor_class=self._actor_class, options=options
        )

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return Method(self, name, "ask")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ActorRef) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<ActorRef {short(self.id)}{f' {self._name}' if self._name else ''}>"

    def __reduce__(self) -> Any:
        raise UsageError(reason="a reference cannot be pickled: send it in a message instead")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        # Imported here: only processes that check arguments with pydantic need it.
        from pydantic_core import core_schema

        return core_schema.is_instance_schema(ActorRef)
