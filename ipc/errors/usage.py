"""Errors of the caller, now: what was passed or asked for is not possible. Fix the calling code.

Codes 101 to 149.
"""

from __future__ import annotations

from ipc.errors.base import UsageError


class SchemaError(UsageError):
    """An argument or a result does not fit the handler's type hints. Nothing ran."""

    code = 101
    template = "{where}: {problem}"


class NoHandlerError(UsageError):
    """The receiver has no such handler. An ask gets this; a tell is dead-lettered."""

    code = 102
    template = "{actor} has no handler {handler!r}; it has: {known}"


class ClosedError(UsageError):
    """The caller used something it had closed. Nothing was sent."""

    code = 103
    template = "{what} is closed"


class TurnClosedError(UsageError):
    """``self.*`` was used without an open turn, or by a task that outlived its turn."""

    code = 104
    template = "{operation} needs an open turn of {actor}: the turn has ended or never began"


class OvertakeError(UsageError):
    """The turn holds an uncommitted tell to this receiver; an ask would overtake it."""

    code = 105
    template = (
        "this turn has told {receiver} something that leaves only with the turn's commit; "
        "asking it now would overtake that tell: ask first, or tell in another turn"
    )


class UnknownActorError(UsageError):
    """No actor has this name or id."""

    code = 106
    template = "no actor {name!r} here{hint}"


class NameTakenError(UsageError):
    """Another actor has the name. Nothing was spawned."""

    code = 107
    template = "the name {name!r} belongs to actor {owner}; choose another or kill that one first"


class BadConfigError(UsageError):
    """A configuration key or value is not one the kernel knows. Nothing was started."""

    code = 108
    template = "{source}: {problem}"


class TurnTooLargeError(UsageError):
    """A turn holds more effects, calls or bytes than a turn may. It is rolled back."""

    code = 109
    template = "this turn would hold {value} {what}, the limit is {limit}: split the work"


class PayloadTooLargeError(UsageError):
    """A payload is above the limit. Nothing was sent."""

    code = 110
    template = (
        "a payload of {value} bytes is above the limit of {limit}: send arrays as attachments"
    )


class NotEncodableError(UsageError):
    """A value cannot be put into a message. Nothing was sent."""

    code = 111
    template = "cannot send a {type_name} in a message ({where}): {hint}"


class UnknownDeadLetterError(UsageError):
    """No dead letter has this number."""

    code = 112
    template = "no dead letter {number}; `llmos dead-letters list` shows those there are"


class BadSpecError(UsageError):
    """The actor's class could not be loaded. ``traceback`` is of the user's module alone."""

    code = 113
    template = "cannot load {target}: {problem}"
    extra = ("traceback",)


class UnknownCallError(UsageError):
    """The kernel has no such system call, or not with these arguments."""

    code = 114
    template = "system call {call!r}: {problem}"


class DeadlockError(UsageError):
    """The ask would close a ring of actors that all wait for each other. It was not sent."""

    code = 115
    template = "this ask closes a ring in which everybody waits: {ring}"


class WrongStateError(UsageError):
    """The actor is not in a state in which this can be done. Nothing was changed."""

    code = 116
    template = "{actor} is {state}: {problem}"


class UnknownModelError(UsageError):
    """No such model, or no such version of it. Nothing was queued."""

    code = 117
    template = "there is no model {name!r}; known are: {known}"


class BadPromptError(UsageError):
    """The model's input cannot be used as it is. Nothing was queued."""

    code = 118
    template = "the input cannot be used: {problem}"


class PromptTooLongError(UsageError):
    """The input does not fit. limit: tokens; what: whose limit it is. Nothing was queued."""

    code = 119
    template = "the input has {value} tokens; {what} allows {limit}"


class SamplingError(UsageError):
    """Options of a completion contradict each other or are out of range. Nothing was queued."""

    code = 120
    template = "{option}: {problem}"


class BadGrammarError(UsageError):
    """The JSON schema or regular expression cannot be compiled. Nothing was queued."""

    code = 121
    template = "the {what} cannot be used: {problem}"


class UnknownSessionError(UsageError):
    """No such session, or it is not the caller's, or it was closed."""

    code = 122
    template = "there is no open session {session} of yours"


class BadModelError(UsageError):
    """A model cannot be used: a broken folder, an unknown architecture, too large for the machine.

    Nothing else was disturbed; requests that waited for it get this error.
    """

    code = 123
    template = "model {model!r} at {location}: {problem}"


class ModelInUseError(UsageError):
    """The model version has open sessions or requests."""

    code = 124
    template = "model {model!r} is in use by {users}; close or wait for these first"


class BadLoadError(UsageError):
    """A load that is to be planned for is no load. Nothing was computed."""

    code = 130
    template = "{what} {value}: it must be {needs}"


class UnstableQueueError(UsageError):
    """The servers cannot keep up: there is no steady state to describe."""

    code = 131
    template = (
        "no steady state: {arrival_per_s} arrive a second and {servers} server(s) take "
        "{capacity_per_s}; the queue grows by {growth_per_s} a second, to about "
        "{waiting_after_60s} after a minute: {min_servers} or more keep up"
    )


class UnreachableGoalError(UsageError):
    """No number of servers reaches the goal."""

    code = 132
    template = (
        "the goal {goal} <= {limit_s} s cannot be reached: {reason}; "
        "service alone takes {floor_s} s"
    )


class UnknownPolicyError(UsageError):
    """No policy of this kind has the name. Nothing was changed."""

    code = 133
    template = "no {kind} policy {name!r}; there are: {known}"


class BadPolicyError(UsageError):
    """A setting of a policy, or what a job says of itself, is not possible. Nothing was changed."""

    code = 134
    template = "{policy}: {what} is {value}, it must be {needs}"


class UnknownResourceError(UsageError):
    """The kernel manages no resource of this name. Nothing was changed."""

    code = 136
    template = "no resource {name!r}; there are: {known}"


class BadResourceError(UsageError):
    """What was asked of a resource is not possible for it. Nothing was changed."""

    code = 137
    template = "resource {name!r}: {problem}"


class BadTraceError(UsageError):
    """A line of a trace of requests is not of its format. Nothing was replayed."""

    code = 140
    template = "{path}, line {line}: {problem}"


class BadBudgetError(UsageError):
    """An amount of a budget is no amount, or of no resource there is. Nothing was changed."""

    code = 145
    template = "budget of {resource!r}: {problem}"


class InfeasibleBudgetError(UsageError):
    """A limit does not fit what there is. Amounts in the resource's unit. Nothing was changed.

    account: whose limit was to be set; constraint: what stands against it, and missing: by how
    much.
    """

    code = 146
    template = "a limit of {wanted} {resource} for {account} is {missing} {constraint}"
