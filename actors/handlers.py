"""Which methods of a class take messages, and how each is run.

``@receive`` marks a handler: ``async def``, ``async def`` with ``yield`` (a stream), or ``def``
(run in a thread: it may block, and cannot be cancelled). ``@subscribe(topic)`` marks a handler
that also gets what is published. A class's table is made once, when it is first asked for.

Cost: a dict lookup a message.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from enum import Enum
from functools import cached_property
from opcode import opmap
from typing import Any, Literal, TypeVar, overload

from actors.reference import RESERVED
from actors.schema import Signature
from ipc.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])

_MARK = "__llmos_handler__"
_TOPIC = "__llmos_topic__"
_YIELD_VALUE = opmap["YIELD_VALUE"]


class Style(Enum):
    """How a handler is run."""

    COROUTINE = "async def"
    STREAM = "async def with yield"
    THREAD = "def"


@overload
def receive(function: F) -> F: ...
@overload
def receive(*, name: str | None = None) -> Callable[[F], F]: ...
def receive(function: F | None = None, *, name: str | None = None) -> Any:
    """Mark a method as a handler of messages. name: what callers say; the method's by default."""

    def mark(target: F) -> F:
        setattr(target, _MARK, name or target.__name__)
        return target

    return mark(function) if function is not None else mark


def subscribe(topic: str, *, overflow: Literal["wait", "dead_letter"] = "wait") -> Callable[[F], F]:
    """Mark a method as a handler that also gets everything published on ``topic``.

    overflow: when the mailbox is full, publishers wait, or the message becomes a dead letter.
    """
    check_topic(topic)
    if overflow not in ("wait", "dead_letter"):
        raise UsageError(reason=f"overflow is 'wait' or 'dead_letter', not {overflow!r}")

    def mark(target: F) -> F:
        setattr(target, _MARK, getattr(target, _MARK, target.__name__))
        setattr(target, _TOPIC, (topic, overflow))
        return target

    return mark


def check_topic(topic: object) -> None:
    """Raise UsageError unless it can be published on."""
    if not isinstance(topic, str) or not topic:
        raise UsageError(reason=f"a topic is a text that is not empty, not {topic!r}")


class Handler:
    """One handler of a class."""

    def __init__(self, owner: str, name: str, function: Callable[..., Any]) -> None:
        self.name = name
        self.function = function
        self.style = _style(function)
        self.never_waits = self.style is Style.COROUTINE and _never_waits(function)
        self.topic: tuple[str, str] | None = getattr(function, _TOPIC, None)
        self._owner = owner

    @cached_property
    def signature(self) -> Signature:
        """The compiled type hints."""
        return Signature(self.function, f"{self._owner}.{self.name}")

    def describe(self) -> str:
        """Return the signature as people read it; that of a stream names an AsyncIterator."""
        arguments = str(inspect.signature(self.function))
        bare = arguments.replace("(self, ", "(", 1).replace("(self)", "()", 1)
        if self.style is Style.STREAM and "Async" not in bare.rpartition(" ->")[2]:
            bare = f"{bare.partition(' ->')[0]} -> AsyncIterator"  # it has no hint, or an alias
        return f"{self.style.value.split(' with')[0]} {self.name}{bare}"


def handler_name(function: Callable[..., Any]) -> str:
    """Return the name of a handler given as ``self.method``. Raises UsageError if it is none."""
    name: str | None = getattr(function, _MARK, None)
    if name is None:
        raise UsageError(reason=f"{function!r} is no handler: mark it with @receive")
    return name


def handler_table(cls: type) -> dict[str, Handler]:
    """Return the handlers of a class and its bases, by name.

    Raises:
        UsageError: a name that references keep for themselves, or one used twice.
    """
    table: dict[str, Handler] = {}
    attributes: dict[str, Any] = {}
    for base in reversed(cls.__mro__):  # inspect.getattr_static costs 4 ms a class
        attributes.update(vars(base))
    for attribute, function in sorted(attributes.items()):
        name = getattr(function, _MARK, None)
        if name is None:
            continue
        if name in RESERVED or name.startswith(("_", "$")):
            raise UsageError(
                reason=f"{cls.__name__}.{attribute}: a handler cannot be called {name!r}, "
                "references use that name themselves; give it another, or @receive(name=...)"
            )
        if name in table:
            raise UsageError(reason=f"{cls.__name__} has two handlers called {name!r}")
        table[name] = Handler(cls.__name__, name, function)
    return table


def _never_waits(function: Callable[..., Any]) -> bool:
    """Say whether the coroutine runs from its start to its end without giving way.

    Whatever waits yields, and its code says so. One that asks for its task must have one.
    """
    code = getattr(function, "__code__", None)
    if code is None or "current_task" in code.co_names:
        return False
    return _YIELD_VALUE not in code.co_code[::2]


def _style(function: Callable[..., Any]) -> Style:
    if inspect.isgeneratorfunction(function):
        raise UsageError(reason=f"{function.__qualname__}: a handler that yields is async def")
    if inspect.isasyncgenfunction(function):
        return Style.STREAM
    return Style.COROUTINE if inspect.iscoroutinefunction(function) else Style.THREAD
