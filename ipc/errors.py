"""Every error that may cross a process boundary, with its wire code.

Classes say who must act: the caller (UsageError), the caller with other
authority (DeniedError), the caller later (OverloadError), the caller deciding
what lateness means (DeadlineError), a supervisor (PeerError), an operator
(CorruptionError), or us (KernelBugError).

An error carries fields, never only text: its class names them in ``template``,
and the text is built from them. On the wire an error is ``{"code", "fields"}``
(``to_wire``); a reader that does not know a code falls back to the class of
its hundred. Codes are ABI: append only, never renumber, never reuse.

Long because every error is here: codes must be seen together to stay unique.
"""

from __future__ import annotations

from string import Formatter
from typing import Any, ClassVar


class LLMOSError(Exception):
    """Base of all errors raised by this project.

    Fields are given by keyword, are attributes afterwards, and are exactly the
    names that ``template`` uses plus those listed in ``extra``.
    """

    code: ClassVar[int] = 0
    retryable: ClassVar[bool] = False
    template: ClassVar[str] = "{reason}"
    extra: ClassVar[tuple[str, ...]] = ()

    def __init__(self, **fields: Any) -> None:
        wanted = self.field_names()
        if set(fields) != wanted:
            raise TypeError(f"{type(self).__name__} takes {sorted(wanted)}, got {sorted(fields)}")
        self.fields = fields
        super().__init__(self.template.format(**fields))

    @classmethod
    def field_names(cls) -> set[str]:
        """Return the names of the fields this class carries."""
        named = {name for _, name, _, _ in Formatter().parse(cls.template) if name}
        return named | set(cls.extra)

    def __getattr__(self, name: str) -> Any:
        fields = self.__dict__.get("fields", {})
        if name in fields:
            return fields[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.fields)


def _rebuild(cls: type[LLMOSError], fields: dict[str, Any]) -> LLMOSError:
    return cls(**fields)


class UsageError(LLMOSError):
    """The caller passed something the API forbids. Fix the calling code."""

    code = 100


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


class DeniedError(LLMOSError):
    """The caller lacks the authority. Another caller, or other access rules, are needed."""

    code = 150


class NoCapabilityError(DeniedError):
    """The sender holds no handle of the receiver. Nothing was sent."""

    code = 151
    template = "actor {sender} holds no handle of actor {receiver}: look it up or be given it"


class HandshakeError(DeniedError):
    """The peer's claim to be somebody was refused."""

    code = 152
    template = "handshake refused: {reason}"


class FencedError(DeniedError):
    """A newer incarnation of this agent exists. This process must end itself."""

    code = 153
    template = "incarnation {incarnation} of actor {actor} is fenced; {current} is the living one"


class GenerationError(DeniedError):
    """The journal was opened anew after a power loss; older sessions cannot be resumed."""

    code = 154
    template = "the kernel's journal is generation {current}, this peer knew generation {known}"


class AccessRuleError(DeniedError):
    """The access rules do not let this actor look up that name."""

    code = 155
    template = "the access rules do not let {subject} reach {name!r}"


class TokenFileError(DeniedError):
    """The operator's token file is missing, or could have been read by others. Nothing was sent."""

    code = 156
    template = "cannot use the operator's token {path}: {problem}"


class OverloadError(LLMOSError):
    """A limit was reached; nothing was enqueued. Back off, then retry."""

    code = 200
    retryable = True


class MailboxFullError(OverloadError):
    """The receiver's mailbox is at its limit. Nothing was enqueued."""

    code = 201
    template = (
        "mailbox of actor {receiver} is full: {depth} of {limit} messages, "
        "{used_bytes} of {limit_bytes} bytes"
    )


class StorageFullError(OverloadError):
    """The journal's disk is nearly full: no new sends are accepted; commits still pass."""

    code = 202
    template = "the kernel's disk has {free_bytes} bytes free, below its mark of {mark_bytes}"


class LimitError(OverloadError):
    """A limit of the kernel was reached. Nothing was created."""

    code = 203
    template = "{what}: {value} of {limit}"


class LlmQueueFullError(OverloadError):
    """As many requests wait for the model as may. Nothing was queued."""

    code = 204
    retryable = True
    template = "{value} requests wait for model {model!r}; the limit is {limit}"


class BudgetExceededError(OverloadError):
    """A budget does not allow it, and the caller would not wait. Nothing was sent or computed.

    Amounts in the resource's unit. account: whose limit it is. used: spent, reserved and promised.
    """

    code = 205
    retryable = True
    template = "the budget of {account}: {needed} {resource} needed, {used} of {limit} are taken"


class ReservationError(OverloadError):
    """More of a resource is asked for than is free. Nothing was reserved, nothing was spawned."""

    code = 206
    retryable = True
    template = (
        "cannot reserve {wanted} {unit} of {resource}: "
        "{free} of {capacity} are free, {short} too few"
    )


class DeadlineError(LLMOSError):
    """The deadline passed. What had been done is not undone."""

    code = 250


class AskTimeoutError(DeadlineError, TimeoutError):
    """The answer did not come before the deadline; the work below was cancelled."""

    code = 251
    template = "no answer from {receiver} within the deadline"


class PeerError(LLMOSError):
    """The world broke it, not the caller. A supervisor must act."""

    code = 300


class ActorDeadError(PeerError):
    """The receiver was terminated; it will never answer."""

    code = 301
    template = "{actor} is dead: {reason}"


class ChannelBrokenError(PeerError):
    """The channel to the kernel is gone and did not come back."""

    code = 302
    template = "the channel to the kernel is broken: {reason}"


class RemoteError(PeerError):
    """A handler raised. ``traceback`` is the remote one, as text."""

    code = 303
    template = "{type_name} in {actor}.{handler}: {message}"
    extra = ("traceback",)

    def __str__(self) -> str:
        text = super().__str__()
        return f"{text}\n\n--- remote traceback ---\n{self.traceback}" if self.traceback else text


class KernelUnavailableError(PeerError):
    """No kernel listens there."""

    code = 304
    template = "no kernel is running at {home}: start one with `llmos up`"


class StreamDivergedError(PeerError):
    """A retried producer gave other items than those already seen."""

    code = 305
    template = "item {index} of the stream from {actor} differs from the one already delivered"


class InDoubtError(PeerError):
    """A call to the outside may or may not have happened; it is not silently re-run."""

    code = 306
    template = "the outcome of {call} is not known: {reason}"


class AskCancelledError(PeerError):
    """The ask was cancelled below the asker (the callee was told to stop)."""

    code = 307
    template = "the ask to {actor} was cancelled: {reason}"


class AttemptsExhaustedError(PeerError):
    """The receiver crashed each time it handled this ask."""

    code = 308
    template = "{actor} crashed {attempts} times while handling this message"


class QuarantinedError(PeerError):
    """The actor crashed more often than its supervisor allows and is held back."""

    code = 309
    template = "{actor} is quarantined after {restarts} restarts in {period} s"


class NonFiniteLogitsError(PeerError):
    """The model gave NaN or infinity at this position; the request ended, others went on."""

    code = 310
    template = "model {model!r} computed non-finite logits at position {position}"


class EndpointError(PeerError):
    """A remote endpoint failed or broke its protocol. status: of HTTP, 0 without an answer."""

    code = 311
    template = "endpoint {endpoint} (HTTP status {status}): {problem}"


class EngineDownError(PeerError):
    """No engine of the model can run; the operator must act. The request has ended."""

    code = 312
    template = "no engine of model {model!r} can run: {problem}"


class PartialFailureError(PeerError):
    """Some of the asks of a scatter failed; the others were answered and stay so."""

    code = 320
    template = "{failed} of {total} asks failed; the first, of item {index}: {problem}"


class CorruptionError(LLMOSError):
    """Stored or received bytes are wrong. An operator must act."""

    code = 400


class BadFrameError(CorruptionError):
    """A frame is malformed. It was counted and dropped at the edge."""

    code = 401
    template = "bad frame: {reason}"


class JournalCorruptError(CorruptionError):
    """The journal cannot be read. It is never overwritten."""

    code = 402
    template = "the journal {path} is damaged: {problem}. It was left as it is"


class JournalVersionError(CorruptionError):
    """The journal was written by a newer version. It is never overwritten."""

    code = 403
    template = "the journal {path} has format {found}, this version reads up to {known}"


class BadRecordError(CorruptionError):
    """A journal row or a state value cannot be decoded."""

    code = 404
    template = "bad record in {table}, key {key!r}: {problem}"


class JournalWriteError(CorruptionError):
    """A commit to the journal failed; the kernel ends before it emits anything."""

    code = 405
    template = "cannot write the journal {path}: {problem}"


class HomeInUseError(CorruptionError):
    """Another kernel has this home directory."""

    code = 406
    template = "the home {home} is in use by kernel process {pid}"


class BadHomeError(CorruptionError):
    """A kernel's directory cannot be made, written or trusted. Nothing was started."""

    code = 407
    template = "cannot use the directory {home}: {problem}"


class KernelBugError(LLMOSError):
    """A broken invariant of ours. Please report it."""

    code = 900


def _all_subclasses(cls: type[LLMOSError]) -> list[type[LLMOSError]]:
    return [cls] + [deep for child in cls.__subclasses__() for deep in _all_subclasses(child)]


BY_CODE: dict[int, type[LLMOSError]] = {cls.code: cls for cls in _all_subclasses(LLMOSError)}


def to_wire(error: LLMOSError) -> dict[str, Any]:
    """Return the error as ``{"code", "fields"}``, ready for msgpack."""
    return {"code": error.code, "fields": error.fields}


def from_wire(wire: Any) -> LLMOSError:
    """Return the error a peer sent; an unknown code becomes the class of its family.

    Raises:
        BadFrameError: what the peer sent is no error.
    """
    code, fields = (
        (wire.get("code"), wire.get("fields")) if isinstance(wire, dict) else (None, None)
    )
    if type(code) is not int or not isinstance(fields, dict):
        raise BadFrameError(reason="an error is {code, fields}")
    cls = BY_CODE.get(code)
    if cls is not None and cls.field_names() == set(fields):
        return cls(**fields)
    text = fields.get("reason") or ", ".join(f"{key}={value}" for key, value in fields.items())
    return family_of(code)(reason=f"{text} (code {code})")


def family_of(code: int) -> type[LLMOSError]:
    """Return the class that says who must act on a code, known or not."""
    families = {cls.code: cls for cls in LLMOSError.__subclasses__()}
    in_fifty = families.get(code - code % 50)
    return in_fifty or families.get(code - code % 100, LLMOSError)
