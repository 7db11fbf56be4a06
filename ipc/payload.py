"""Message bodies: Python values to msgpack and back; never pickle.

What it is not: the reference table and the header around a body (ipc/envelope.py), or the
checking of arguments against type hints (the SDK; it also turns dataclasses and pydantic
models into dicts first: they are refused here, so that nothing is guessed).

Plain values (None, bool, int, float, str, bytes, list, tuple, dict) are plain msgpack. What
msgpack has no type for is an extension; all numbers in it are little-endian:

    code  value       content
       1  datetime    i64 microseconds of the wall reading since 1970-01-01T00:00;
                      if aware also i64 microseconds of its offset from UTC
       2  date        i32 proleptic ordinal, 1 = 0001-01-01
       3  time        i64 microseconds since midnight; if aware also i64 offset as above
       4  timedelta   i32 days, i32 seconds, i32 microseconds, normalised as Python does
       5  UUID        16 bytes
       6  Decimal     its text, ASCII, at most 4096 characters
       7  int         beyond 64 bits: two's complement, at most 4096 bytes
       8  set         msgpack array of the elements, sorted by their encoded bytes
       9  frozenset   likewise
      10  array       msgpack [dtype, shape, order, data]; dtype: numpy's string for it;
                      order: "C" or "F"; data: bytes, or the number of an attachment
                      (attachments are named once each, in ascending order)
      11  scalar      msgpack [dtype, bytes] of a numpy scalar
      12  tensor      as array; dtype may also be a torch name that numpy lacks ("bfloat16")
      13  blob        u8: number of the attachment that holds the bytes
      14  reference   u16: index into the envelope's reference table

What changes on the way: tuples arrive as lists (as tuples inside sets and dict keys), bytearray
and memoryview as bytes, time zones as fixed offsets, subclasses (IntEnum, numpy.float64) as
their base, tensors as tensors only where torch is loaded, else as arrays (bfloat16 as float32).
msgpack's own timestamp extension is never written; it is read as an aware datetime.

Attachments are the caller's own memory: whoever changes an array after sending it changes what
is sent. Arrays that arrive are read-only views of the received buffer; tensors are copies.

Invariants:
  I1  bytes from outside end in a value or in BadFrameError, and memory stays in proportion to
      their length: ext/structure.pyx adds up what they announce before anything is built.
      (The worst proportion is that of empty lists: some 70 bytes for one.)
  I2  equal values, built in the same order, encode to equal bytes in every process: dicts in
      insertion order, sets sorted.

Cost: about 1 us for a small plain body each way; nothing per byte of an attachment.
Concurrency: safe from several threads; an encoder serves one call at a time.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

from typing_extensions import Buffer

from ext.wire import digest64
from ipc import refusal
from ipc.arrays import byte_view
from ipc.decoder import Decoder, MakeRef, listed, lone_extension, unpack
from ipc.encoder import Body, Encoder, RefId, Refused
from ipc.errors import NotEncodableError
from ipc.plain import (
    DECODING_FAILED,
    KEEP_PACKER,
    MAX_IDLE,
    bad_body,
    check_structure,
    decode_plain,
    encode_plain,
)

__all__ = ["Body", "call_digest", "decode", "decode_plain", "encode", "encode_plain"]

# A free list, not state: which encoder serves whom does not matter (list.pop is atomic).
_idle: list[Encoder] = []


def encode(value: Any, *, ref_id: RefId | None = None) -> Body:
    """Encode a body.

    ref_id: returns the actor id if the object is an actor reference, else None. Asked only
        for objects that are no plain value.
    Raises:
        NotEncodableError: tells what it is, where it is and what to send instead.
    """
    encoder = _idle.pop() if _idle else Encoder()
    try:
        body = encoder.encode(value, ref_id)
    except Refused as refused:
        raise NotEncodableError(
            type_name=refusal.type_name(refused.value),
            where=refusal.locate(value, refused.value),
            hint=refused.hint,
        ) from None
    except (ValueError, TypeError, OverflowError, RecursionError, BufferError) as problem:
        raise NotEncodableError(
            type_name=refusal.type_name(value), where="somewhere in it", hint=_hint(problem)
        ) from problem
    if len(body.data) < KEEP_PACKER and len(_idle) < MAX_IDLE:
        _idle.append(encoder)
    return body


def _hint(problem: Exception) -> str:
    is_endless = "recursion" in str(problem)  # a RecursionError, or msgpack's ValueError for one
    return "it is nested too deeply, or contains itself" if is_endless else str(problem)


def decode(
    data: bytes, attachments: Sequence[Buffer] = (), *, make_ref: MakeRef | None = None
) -> Any:
    """Return the value of a body.

    make_ref: given an index into the envelope's reference table, returns the reference, or
        raises IndexError. Without it a body that holds references is refused.
    Raises:
        BadFrameError: the bytes are no body; nothing of it may be used.
    """
    check_structure(data)
    is_bare = not attachments and make_ref is None
    try:
        return unpack(data, lone_extension if is_bare else Decoder(attachments, make_ref).extension)
    except DECODING_FAILED as problem:
        if "unhashable" not in str(problem):
            raise bad_body(problem) from problem
    try:
        # A list as a dict's key: read again with tuples, and keep them where they are keys.
        extension = Decoder(attachments, make_ref).extension
        return listed(unpack(data, extension, use_list=False))
    except DECODING_FAILED as problem:
        raise bad_body(problem) from problem


def call_digest(
    target: int,
    body: bytes,
    attachments: Sequence[Buffer] = (),
    options: Mapping[str, Any] | None = None,
    *,
    refs: Sequence[int] = (),
) -> bytes:
    """Return the 16 bytes by which a retried turn recognises a call it has made before.

    options: plain values; their order does not matter. refs: of the body, which only holds
    indexes. Equal calls have equal digests in every process (I2). Attachments enter by their
    XXH64: enough against accident, and an agent could only deceive itself.
    Cost: about 1 us, and one pass over body and attachments.
    """
    text = _TARGET_AND_LENGTH(target, len(body)) + body
    if attachments or options or refs:
        marks = [(view.nbytes, digest64(view)) for view in map(byte_view, attachments)]
        text += encode_plain([marks, sorted((options or {}).items()), list(refs)])
    return blake2b(text, digest_size=16).digest()


_TARGET_AND_LENGTH = struct.Struct("<QQ").pack
