"""Exit codes of `llmos`, and which error ends with which code and which advice.

Promise: a code never changes its meaning; scripts may branch on it. The codes are shown by
``llmos --help`` from the table below, so that text and behaviour cannot part.
"""

from __future__ import annotations

from enum import IntEnum

from ipc.errors import (
    AccessRuleError,
    ActorDeadError,
    AskTimeoutError,
    AttemptsExhaustedError,
    BadHomeError,
    BadModelError,
    BadSpecError,
    BudgetExceededError,
    ChannelBrokenError,
    DeadlockError,
    EndpointError,
    EngineDownError,
    GenerationError,
    HomeInUseError,
    InfeasibleBudgetError,
    JournalCorruptError,
    JournalVersionError,
    KernelUnavailableError,
    LLMOSError,
    LlmQueueFullError,
    MailboxFullError,
    ModelInUseError,
    NameTakenError,
    NoHandlerError,
    NonFiniteLogitsError,
    PromptTooLongError,
    QuarantinedError,
    RemoteError,
    ReservationError,
    SchemaError,
    StorageFullError,
    TokenFileError,
    UnknownActorError,
    UnknownDeadLetterError,
    UnknownModelError,
    UnknownResourceError,
)


class Exit(IntEnum):
    """What the exit code of a command means."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NO_KERNEL = 3
    NOT_FOUND = 4
    DENIED = 5
    OVERLOADED = 6
    TIMEOUT = 7
    BAD_CLASS = 8
    OPERATOR = 9
    BUG = 70
    INTERRUPTED = 130


MEANINGS: dict[Exit, str] = {
    Exit.OK: "done",
    Exit.FAILED: "the agent failed (its error is shown), or a check did not pass",
    Exit.USAGE: "wrong arguments or configuration; nothing was done",
    Exit.NO_KERNEL: "no kernel is running there, or it went away",
    Exit.NOT_FOUND: "no such agent, handler, dead letter or model",
    Exit.DENIED: "the caller may not do this",
    Exit.OVERLOADED: "a limit was reached; try again later",
    Exit.TIMEOUT: "no answer within the deadline",
    Exit.BAD_CLASS: "the agent's class cannot be loaded (its traceback is shown)",
    Exit.OPERATOR: "the home directory cannot be used: in use, damaged, or of a newer version",
    Exit.BUG: "a bug in LLMOS",
    Exit.INTERRUPTED: "interrupted",
}

_BY_FAMILY: dict[int, Exit] = {
    100: Exit.USAGE,
    150: Exit.DENIED,
    200: Exit.OVERLOADED,
    250: Exit.TIMEOUT,
    300: Exit.FAILED,
    400: Exit.OPERATOR,
    900: Exit.BUG,
}
_BY_CODE: dict[int, Exit] = {
    UnknownActorError.code: Exit.NOT_FOUND,
    NoHandlerError.code: Exit.NOT_FOUND,
    UnknownDeadLetterError.code: Exit.NOT_FOUND,
    UnknownModelError.code: Exit.NOT_FOUND,
    UnknownResourceError.code: Exit.NOT_FOUND,
    BadSpecError.code: Exit.BAD_CLASS,
    DeadlockError.code: Exit.FAILED,
    KernelUnavailableError.code: Exit.NO_KERNEL,
    ChannelBrokenError.code: Exit.NO_KERNEL,
}
_ADVICE: dict[int, str] = {
    ReservationError.code: "`llmos resources` shows who has reserved what; `llmos kill` frees it",
    UnknownResourceError.code: "`llmos resources` lists them; `llmos resources add` makes one",
    SchemaError.code: (
        "values are read as JSON and else as text (5 is a number, '\"5\"' is text), "
        "streams need --stream; `llmos inspect AGENT` shows what each handler takes"
    ),
    UnknownActorError.code: "`llmos ps` lists the agents there are",
    NameTakenError.code: "give another name with --as, or `llmos kill` the one that has it",
    BadSpecError.code: "correct it; if `llmos ps` shows the agent as failed: `llmos restart` it",
    DeadlockError.code: "one of these agents must tell instead of ask",
    AskTimeoutError.code: "`llmos ps` and `llmos model ls` tell who is at work; see --timeout",
    AccessRuleError.code: "[[access]] rules stand in the kernel's config.toml",
    GenerationError.code: "run the command again: it begins a new session",
    MailboxFullError.code: "the agent is slower than its senders: see `llmos top`, then try again",
    StorageFullError.code: "free some disk space; work already accepted goes on",
    TokenFileError.code: "chmod go= the file, or run as the user who owns this kernel's home",
    BadHomeError.code: "make it yours alone (chmod 700), or give another --home",
    ActorDeadError.code: "`llmos spawn` starts a new one",
    ChannelBrokenError.code: "`llmos status` tells whether a kernel runs; `llmos up` starts one",
    RemoteError.code: "the traceback is the agent's own; `llmos logs AGENT` shows its output",
    AttemptsExhaustedError.code: "`llmos logs AGENT` shows why it crashed",
    QuarantinedError.code: "`llmos logs AGENT` shows why; `llmos restart AGENT` lets it try again",
    HomeInUseError.code: "`llmos status` shows it; `--name OTHER` runs a second kernel beside it",
    BudgetExceededError.code: "`llmos budget` shows it, `llmos budget top-up` raises it",
    InfeasibleBudgetError.code: "`llmos budget` shows what is left where",
    UnknownModelError.code: "`llmos model ls` lists the models, `llmos model add` makes one known",
    BadModelError.code: "correct it and `llmos model load` it, or `llmos model add` it otherwise",
    ModelInUseError.code: "end those who use it, or `llmos model add` a new version beside it",
    PromptTooLongError.code: "shorten it or --max-tokens, or raise the model's limit that it names",
    LlmQueueFullError.code: "more asks than the engines can do: see `llmos top`, then try again",
    EngineDownError.code: "`llmos model ls` tells why; `llmos logs ENGINE` shows its output",
    EndpointError.code: "the endpoint's own message is above; check URL, key and limits",
    NonFiniteLogitsError.code: "the weights are damaged, or --dtype is too narrow for them",
    JournalCorruptError.code: "restore it from a copy, or begin anew with another --home",
    JournalVersionError.code: "use the newer llmos that wrote it, or another --home",
}


def exit_for(error: LLMOSError) -> Exit:
    """Return the exit code with which a command ends on this error."""
    return _BY_CODE.get(error.code) or _BY_FAMILY.get(error.code - error.code % 50, Exit.FAILED)


def advice_for(error: LLMOSError) -> str | None:
    """Return what a person can do about the error, where its own text does not say it."""
    return _ADVICE.get(error.code)


def table() -> str:
    """Return the exit codes as text, one a line."""
    return "\n".join(f"{code.value:>3}  {meaning}" for code, meaning in MEANINGS.items())
