"""What the SDK exports, so that a widening is a visible diff."""

from __future__ import annotations

import subprocess
import sys

import actors

PUBLIC = set(
    """
    AccessRuleError Actor ActorDeadError ActorRef AskCancelledError AskTimeoutError AsyncClient
    AttemptsExhaustedError BadBudgetError BadGrammarError BadModelError BadPromptError BadSpecError
    BlockingLlm BlockingLlmSession BudgetExceededError BudgetView ChannelBrokenError ChildBudget
    ChildExit Client Completion CompletionStream
    DeadlineError DeadlockError DeniedError Down EndpointError EngineDownError Gathered
    InDoubtError
    InfeasibleBudgetError
    KernelUnavailableError LLMOSError Llm LlmQueueFullError LlmSession MailboxFullError
    ModelInUseError NameTakenError NoCapabilityError NoHandlerError NonFiniteLogitsError
    NotEncodableError OverloadError OvertakeError PartialFailureError PayloadTooLargeError PeerError
    PromptTooLongError QuarantinedError RemoteError SamplingError SchemaError StorageFullError
    StreamDivergedError ToolCall TurnClosedError TurnTooLargeError UnknownActorError
    UnknownModelError UnknownSessionError Usage UsageError aconnect connect receive subscribe
    """.split()  # noqa: SIM905
)


def test_the_public_names_are_these() -> None:
    assert set(actors.__all__) == PUBLIC
    assert all(hasattr(actors, name) for name in PUBLIC)


def test_the_sdk_leaves_to_its_user_what_structlog_can_do() -> None:
    """The kernel imports structlog without rich (kernel/host/structured_log.py); agents do not."""
    program = (
        "from actors import Actor; import actors.process, actors.zygote; "
        "import structlog.dev; print(bool(structlog.dev.rich))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert done.stdout == "True\n", done.stderr
