"""Errors of the world: a supervisor, or the operator of a model, must act. Codes 301 to 399."""

from __future__ import annotations

from ipc.errors.base import PeerError


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
    template = "endpoint {endpoint}: {problem}"
    extra = ("status",)


class EngineDownError(PeerError):
    """No engine of the model can run; the operator must act. The request has ended."""

    code = 312
    template = "no engine of model {model!r} can run: {problem}"


class PartialFailureError(PeerError):
    """Some of the asks of a scatter failed; the others were answered and stay so."""

    code = 320
    template = "{failed} of {total} asks failed; the first, of item {index}: {problem}"
