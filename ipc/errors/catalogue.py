"""The catalogue: every error by its code, and how one crosses a process boundary.

On the wire an error is ``{"code", "fields"}`` (``to_wire``); a reader that does not know a code
falls back to the class of its hundred. Codes are ABI: append only, never renumber, never reuse;
tests/ipc/golden/error_codes.txt lists them all, and a test holds them to it.
"""

from __future__ import annotations

from typing import Any

from ipc.errors import base, corruption, deadline, denied, overload, peer, usage
from ipc.errors.base import LLMOSError
from ipc.errors.corruption import BadFrameError

_FILES = (base, usage, denied, overload, deadline, peer, corruption)
BY_CODE: dict[int, type[LLMOSError]] = {
    cls.code: cls
    for file in _FILES
    for cls in vars(file).values()
    if isinstance(cls, type) and issubclass(cls, LLMOSError)
}


def to_wire(error: LLMOSError) -> dict[str, Any]:
    """Return the error as ``{"code", "fields"}``, ready for msgpack whatever its fields hold."""
    return {"code": error.code, "fields": {k: _sendable(v) for k, v in error.fields.items()}}


def _sendable(value: Any) -> Any:
    """Return a field as it can be sent: what carries a failure must not fail itself."""
    if isinstance(value, str):  # file names may hold lone surrogates, and stand in messages
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
        return str(value)
    if value is None or isinstance(value, bool | int | float | bytes):
        return value
    if isinstance(value, list | tuple):
        return [_sendable(item) for item in value]
    if isinstance(value, dict):
        return {_sendable(key): _sendable(item) for key, item in value.items()}
    return f"<{type(value).__qualname__}>"


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
