"""What the SDK exports, so that a widening is a visible diff."""

from __future__ import annotations

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
