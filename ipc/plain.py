"""Plain bodies: what msgpack can say by itself, for control messages and journal rows.

What it is not: message bodies with extensions (ipc/payload.py, which builds on this).

Invariant: bytes from outside end in a value or in BadFrameError, and memory stays in
proportion to their length: ext/structure.pyx adds up what they announce before anything is
built. Keys are str or bytes, because integers can be chosen to collide in a dict, and the
kernel reads such bodies from peers it does not know yet.

Cost: about 0.3 us to encode and 0.5 us to decode a small body. Safe from several threads.
"""

from __future__ import annotations

import struct
from typing import Any

import msgpack

from ext.structure import check
from ipc import refusal
from ipc.errors import BadFrameError, NotEncodableError

KEEP_PACKER = 1 << 18  # bytes; a packer whose buffer grew beyond is dropped
MAX_IDLE = 8  # packers kept; more are in use only when as many threads encode at once

DECODING_FAILED = (
    ArithmeticError,
    IndexError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
    msgpack.exceptions.UnpackException,
)

_WALK_PROBLEMS = {
    1: "it ends early",
    2: "bytes follow the value",
    3: "it is nested too deeply",
    4: "a byte that msgpack does not use",
}

# A free list, not state: which packer serves whom does not matter (list.pop is atomic).
_idle: list[msgpack.Packer] = []


def encode_plain(value: Any) -> bytes:
    """Encode plain values only. Keys must be str or bytes, or nobody can decode it.

    Raises NotEncodableError for anything else.
    """
    packer = _idle.pop() if _idle else msgpack.Packer(buf_size=4 << 10)
    try:
        data: bytes = packer.pack(value)
    except (ValueError, TypeError, OverflowError, RecursionError) as problem:
        raise NotEncodableError(
            type_name=refusal.type_name(value), where="a plain body", hint=str(problem)
        ) from problem
    if len(data) < KEEP_PACKER and len(_idle) < MAX_IDLE:
        _idle.append(packer)
    return data


def decode_plain(data: bytes) -> Any:
    """Return the value of a plain body; extensions and keys that are not text are refused.

    Raises:
        BadFrameError: the bytes are no plain body.
    """
    check_structure(data)
    try:
        return msgpack.unpackb(data, ext_hook=_no_extension)
    except DECODING_FAILED as problem:
        raise bad_body(problem) from problem


def check_structure(data: bytes) -> None:
    """Raise BadFrameError unless the bytes are one whole msgpack value of bearable depth."""
    if status := check(data):
        raise BadFrameError(reason=f"body: {_WALK_PROBLEMS[status]}")


def bad_body(problem: BaseException) -> BadFrameError:
    """Return the error for bytes that could not be decoded."""
    return BadFrameError(reason=f"body: {str(problem) or type(problem).__name__}")


def _no_extension(code: int, _: bytes) -> Any:
    raise ValueError(f"extension {code} in a plain body")
