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
    BadBudgetError,
    BadGrammarError,
    BadModelError,
    BadPromptError,
    BadSpecError,
    BudgetExceededError,
    ChannelBrokenError,
    DeadlineError,
    DeadlockError,
    DeniedError,
    EndpointError,
    EngineDownError,
    InDoubtError,
    InfeasibleBudgetError,
    KernelUnavailableError,
    LLMOSError,
    LlmQueueFullError,
    MailboxFullError,
    ModelInUseError,
    NameTakenError,
    NoCapabilityError,
    NoHandlerError,
    NonFiniteLogitsError,
    NotEncodableError,
    OverloadError,
    OvertakeError,
    PartialFailureError,
    PayloadTooLargeError,
    PeerError,
    PromptTooLongError,
    QuarantinedError,
    RemoteError,
    SamplingError,
    SchemaError,
    StorageFullError,
    StreamDivergedError,
    TurnClosedError,
    TurnTooLargeError,
    UnknownActorError,
    UnknownModelError,
    UnknownSessionError,
    UsageError,
)

if TYPE_CHECKING:
    from actors.actor import Actor, ChildExit, Down
    from actors.async_client import AsyncClient
    from actors.budget import BudgetView, ChildBudget
    from actors.client import Client, connect
    from actors.connecting import aconnect
    from actors.handlers import receive, subscribe
    from actors.llm.blocking import BlockingLlm, BlockingLlmSession
    from actors.llm.completion import Completion, ToolCall, Usage
    from actors.llm.llm import Llm
    from actors.llm.session import LlmSession
    from actors.llm.stream import CompletionStream
    from actors.reference import ActorRef
    from actors.scatter import Gathered

__all__ = [
    "AccessRuleError",
    "Actor",
    "ActorDeadError",
    "ActorRef",
    "AskCancelledError",
    "AskTimeoutError",
    "AsyncClient",
    "AttemptsExhaustedError",
    "BadBudgetError",
    "BadGrammarError",
    "BadModelError",
    "BadPromptError",
    "BadSpecError",
    "BlockingLlm",
    "BlockingLlmSession",
    "BudgetExceededError",
    "BudgetView",
    "ChannelBrokenError",
    "ChildBudget",
    "ChildExit",
    "Client",
    "Completion",
    "CompletionStream",
    "DeadlineError",
    "DeadlockError",
    "DeniedError",
    "Down",
    "EndpointError",
    "EngineDownError",
    "Gathered",
    "InDoubtError",
    "InfeasibleBudgetError",
    "KernelUnavailableError",
    "LLMOSError",
    "Llm",
    "LlmQueueFullError",
    "LlmSession",
    "MailboxFullError",
    "ModelInUseError",
    "NameTakenError",
    "NoCapabilityError",
    "NoHandlerError",
    "NonFiniteLogitsError",
    "NotEncodableError",
    "OverloadError",
    "OvertakeError",
    "PartialFailureError",
    "PayloadTooLargeError",
    "PeerError",
    "PromptTooLongError",
    "QuarantinedError",
    "RemoteError",
    "SamplingError",
    "SchemaError",
    "StorageFullError",
    "StreamDivergedError",
    "ToolCall",
    "TurnClosedError",
    "TurnTooLargeError",
    "UnknownActorError",
    "UnknownModelError",
    "UnknownSessionError",
    "Usage",
    "UsageError",
    "aconnect",
    "connect",
    "receive",
    "subscribe",
]

_MODULES = {
    "Actor": "actors.actor",
    "ActorRef": "actors.reference",
    "AsyncClient": "actors.async_client",
    "BlockingLlm": "actors.llm.blocking",
    "BlockingLlmSession": "actors.llm.blocking",
    "BudgetView": "actors.budget",
    "ChildBudget": "actors.budget",
    "ChildExit": "actors.actor",
    "Client": "actors.client",
    "Completion": "actors.llm.completion",
    "CompletionStream": "actors.llm.stream",
    "Down": "actors.actor",
    "Gathered": "actors.scatter",
    "Llm": "actors.llm.llm",
    "LlmSession": "actors.llm.session",
    "ToolCall": "actors.llm.completion",
    "Usage": "actors.llm.completion",
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
