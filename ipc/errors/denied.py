"""Errors of authority: another caller, or other access rules, are needed. Codes 151 to 199."""

from __future__ import annotations

from ipc.errors.base import DeniedError


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
