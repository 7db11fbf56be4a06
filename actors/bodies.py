"""Between values and envelopes: payload, reference table and attachments, both ways.

What it is not: the codec (ipc/payload.py). Here references become handles of this process,
and dataclasses, models and enums become plain values.

A state value is bytes: msgpack as it is, or, if it holds references or attachments,

    0xC1 (a byte msgpack never uses) · u16 references · u64 each · u16 attachments ·
    u64 length each · u32 length of the msgpack · msgpack · attachments

Cost: that of the codec, plus one call.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from actors.reference import ActorRef
from actors.schema import to_plain
from ext.wire import Envelope
from ipc import payload
from ipc.envelope import join_refs, split_refs
from ipc.errors import BadRecordError, NotEncodableError
from ipc.payload import Body
from ipc.protocol import Flag

MakeRef = Callable[[int], ActorRef[Any]]

_CONTAINER = 0xC1
_HAS_REFS = int(Flag.HAS_REFS)


def reference_id(value: Any) -> int | None:
    """Return the actor id if the value is a reference."""
    return value.id if isinstance(value, ActorRef) else None


def encode(value: Any) -> Body:
    """Encode a value. Raises NotEncodableError; nothing is guessed about unknown classes."""
    try:
        return payload.encode(value, ref_id=reference_id)
    except NotEncodableError as error:
        try:
            plain = to_plain(value)
        except RecursionError:
            raise error from None
        return payload.encode(plain, ref_id=reference_id)


def fill(envelope: Envelope, body: Body) -> Envelope:
    """Put the body into the envelope and return it."""
    if body.refs:
        envelope.payload = join_refs(body.refs, body.data)
        envelope.flags |= _HAS_REFS
    else:
        envelope.payload = body.data
    envelope.attachments = body.attachments
    return envelope


def read(envelope: Envelope, make_ref: MakeRef) -> Any:
    """Return the value an envelope carries. Raises BadFrameError."""
    if not envelope.flags & _HAS_REFS:
        return payload.decode(envelope.payload, envelope.attachments)
    refs, data = split_refs(envelope)
    return payload.decode(data, envelope.attachments, make_ref=lambda index: make_ref(refs[index]))


def to_stored(value: Any) -> bytes:
    """Return the bytes under which a state value is kept; see the module head."""
    body = encode(value)
    if not body.refs and not body.attachments:
        return body.data
    parts = [memoryview(part).cast("B") for part in body.attachments]
    head = struct.pack(
        f"<BH{len(body.refs)}QH{len(parts)}QI",
        _CONTAINER,
        len(body.refs),
        *body.refs,
        len(parts),
        *(part.nbytes for part in parts),
        len(body.data),
    )
    return b"".join([head, body.data, *parts])


def from_stored(data: bytes, make_ref: MakeRef, key: str) -> Any:
    """Return the value of such bytes. Raises BadRecordError for bytes of something else."""
    if not data or data[0] != _CONTAINER:
        return payload.decode(data)
    try:
        refs, body, attachments = _split(data)
    except (struct.error, IndexError) as error:
        raise BadRecordError(table="state", key=key, problem=str(error)) from None
    return payload.decode(body, attachments, make_ref=lambda index: make_ref(refs[index]))


def _split(data: bytes) -> tuple[tuple[int, ...], bytes, tuple[memoryview, ...]]:
    (num_refs,) = struct.unpack_from("<H", data, 1)
    refs = struct.unpack_from(f"<{num_refs}Q", data, 3)
    offset = 3 + 8 * num_refs
    (num_parts,) = struct.unpack_from("<H", data, offset)
    sizes = struct.unpack_from(f"<{num_parts}Q", data, offset + 2)
    offset += 2 + 8 * num_parts
    (length,) = struct.unpack_from("<I", data, offset)
    offset += 4 + length
    body = data[offset - length : offset]
    parts = []
    for size in sizes:
        parts.append(memoryview(data)[offset : offset + size])
        offset += size
    return refs, body, tuple(parts)
