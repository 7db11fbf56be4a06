"""A loaded actor class: its handlers, what it declares, and how an instance is made.

Cost: once a process.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, get_args

from actors.actor import Actor, Strategy, hooks_of
from actors.bodies import from_stored
from actors.driver import Driver
from actors.failure import user_traceback
from actors.handlers import Handler
from actors.port import class_handlers
from actors.reference import MAX_DEADLINE_S
from actors.schema import Signature
from ipc.errors import BadSpecError, LLMOSError, UsageError
from ipc.protocol import Declares

if TYPE_CHECKING:
    from actors.port import TurnPort


@dataclass(slots=True)
class Program:
    """What an agent runs. arguments: of the constructor, still as stored in the spec."""

    actor_class: type[Actor]
    target: str
    arguments: bytes
    handlers: dict[str, Handler] = field(init=False)
    topics: dict[str, Handler] = field(init=False)

    def __post_init__(self) -> None:
        _check_attributes(self.actor_class)
        self.handlers = class_handlers(self.actor_class)
        self.topics = {
            handler.topic[0]: handler for handler in self.handlers.values() if handler.topic
        }

    def declares(self) -> Declares:
        """Return what the class says of itself, for HELLO."""
        cls = self.actor_class
        declares = Declares(
            hooks=hooks_of(cls),
            concurrency=cls.concurrency,
            subscriptions=[
                [handler.topic[0], handler.name, handler.topic[1]]
                for handler in self.handlers.values()
                if handler.topic
            ],
            handlers={name: handler.describe() for name, handler in self.handlers.items()},
            strategy=cls.strategy,
            intensity=cls.intensity,
            period_s=cls.period_s,
        )
        if cls.lease_s is not None:
            declares["lease_s"] = cls.lease_s
        if issubclass(cls, Driver):
            declares["driver"] = cls.driver
        return declares

    def instantiate(self, port: TurnPort) -> Actor:
        """Make the instance; the constructor's arguments are checked against its hints.

        Raises:
            BadSpecError: they do not fit, or the constructor raised; with its traceback.
        """
        cls = self.actor_class
        try:
            args, kwargs = from_stored(self.arguments, port.make_ref, "arguments")
            if cls.__init__ is not object.__init__:
                args, kwargs = Signature(cls.__init__, cls.__name__).bind(args, kwargs)
            elif args or kwargs:
                problem = f"{cls.__name__} takes no arguments"
                raise BadSpecError(target=self.target, problem=problem, traceback="")
            instance = cls.__new__(cls)
            instance._port = port
            instance.__init__(*args, **kwargs)  # type: ignore[misc]
        except BadSpecError:
            raise
        except LLMOSError as error:
            raise BadSpecError(target=self.target, problem=str(error), traceback="") from None
        except Exception as error:
            problem = f"the constructor raised {type(error).__name__}: {error}"
            text = user_traceback(error)
            raise BadSpecError(target=self.target, problem=problem, traceback=text) from None
        return instance


def _check_attributes(cls: type[Actor]) -> None:
    """Raise UsageError for a class attribute that is none of its values."""
    numbers = {"concurrency": (cls.concurrency, int, 1), "intensity": (cls.intensity, int, 0)}
    for name, (value, kind, least) in numbers.items():
        if not isinstance(value, kind) or value < least:
            raise UsageError(reason=f"{cls.__name__}.{name} is at least {least}, not {value!r}")
    lease_s = 1.0 if cls.lease_s is None else cls.lease_s
    for name, seconds in {"lease_s": lease_s, "period_s": cls.period_s}.items():
        if not isinstance(seconds, (int, float)) or not 0 < seconds <= MAX_DEADLINE_S:
            raise UsageError(reason=f"{cls.__name__}.{name} is in seconds, not {seconds!r}")
    if cls.strategy not in get_args(Strategy):
        known = ", ".join(get_args(Strategy))
        raise UsageError(reason=f"{cls.__name__}.strategy is one of {known}, not {cls.strategy!r}")
