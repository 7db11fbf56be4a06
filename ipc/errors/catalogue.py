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
