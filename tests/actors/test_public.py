"""What the SDK exports, so that a widening is a visible diff."""

from __future__ import annotations

import actors

PUBLIC = set(
    """
    AccessRuleError Actor ActorDeadError ActorRef AskCancelledError AskTimeoutError AsyncClient
    AttemptsExhaustedError BadSpecError ChannelBrokenError ChildExit Client DeadlineError
    DeadlockError DeniedError Down InDoubtError KernelUnavailableError LLMOSError
    MailboxFullError NameTakenError NoCapabilityError NoHandlerError NotEncodableError
    OverloadError OvertakeError PayloadTooLargeError PeerError QuarantinedError RemoteError
    SchemaError StorageFullError StreamDivergedError TurnClosedError TurnTooLargeError
    UnknownActorError UsageError aconnect connect receive subscribe
    """.split()  # noqa: SIM905
)


def test_the_public_names_are_these() -> None:
    assert set(actors.__all__) == PUBLIC
    assert all(hasattr(actors, name) for name in PUBLIC)
