"""The SDK: write agents, and talk with them from outside.

Names are loaded at first use: the command line, which lives in this package, needs few of them
and must start fast (actors/cli/app.py; structlog alone takes a tenth of a second).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ipc.errors import (
    AccessRuleError,
    ActorDeadError,
    AskCancelledError,
    AskTimeoutError,
    AttemptsExhaustedError,
    BadSpecError,
    ChannelBrokenError,
    DeadlineError,
    DeadlockError,
    DeniedError,
    InDoubtError,
    KernelUnavailableError,
    LLMOSError,
    MailboxFullError,
    NameTakenError,
    NoCapabilityError,
    NoHandlerError,
    NotEncodableError,
    OverloadError,
    OvertakeError,
    PayloadTooLargeError,
    PeerError,
    QuarantinedError,
    RemoteError,
    SchemaError,
    StorageFullError,
    StreamDivergedError,
    TurnClosedError,
    TurnTooLargeError,
    UnknownActorError,
    UsageError,
)

if TYPE_CHECKING:
    from actors.actor import Actor, ChildExit, Down
    from actors.client import Client, connect
    from actors.connecting import aconnect
    from actors.handlers import receive, subscribe
    from actors.reference import ActorRef
    from actors.session import AsyncClient

__all__ = [
    "AccessRuleError",
    "Actor",
    "ActorDeadError",
    "ActorRef",
    "AskCancelledError",
    "AskTimeoutError",
    "AsyncClient",
    "AttemptsExhaustedError",
    "BadSpecError",
    "ChannelBrokenError",
    "ChildExit",
    "Client",
    "DeadlineError",
    "DeadlockError",
    "DeniedError",
    "Down",
    "InDoubtError",
    "KernelUnavailableError",
    "LLMOSError",
    "MailboxFullError",
    "NameTakenError",
    "NoCapabilityError",
    "NoHandlerError",
    "NotEncodableError",
    "OverloadError",
    "OvertakeError",
    "PayloadTooLargeError",
    "PeerError",
    "QuarantinedError",
    "RemoteError",
    "SchemaError",
    "StorageFullError",
    "StreamDivergedError",
    "TurnClosedError",
    "TurnTooLargeError",
    "UnknownActorError",
    "UsageError",
    "aconnect",
    "connect",
    "receive",
    "subscribe",
]

_MODULES = {
    "Actor": "actors.actor",
    "ActorRef": "actors.reference",
    "AsyncClient": "actors.session",
    "ChildExit": "actors.actor",
    "Client": "actors.client",
    "Down": "actors.actor",
    "aconnect": "actors.connecting",
    "connect": "actors.client",
    "receive": "actors.handlers",
    "subscribe": "actors.handlers",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value
