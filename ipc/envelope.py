"""The one message every process speaks, and its layout on the wire.

A ZeroMQ message is a batch of one or more envelopes:

    [routing id, ROUTER side only] [header payload, header payload ...] [attachment ...]

The batch is one part: each fixed-size header is followed by its payload (one part
instead of two saves about 10 us of ZeroMQ's time a hop). Then come all attachment
parts in order. Everything is little-endian; all integers are unsigned.

    offset  size  field             meaning
         0     2  magic             0x4F4C, b"LO"
         2     1  version           1
         3     1  kind              ipc.protocol.Kind
         4     2  flags             ipc.protocol.Flag
         6     1  priority          0 = most urgent .. 7; 4 is usual
         7     1  num_attachments   parts that belong to this envelope
         8     8  sender            actor id, session id, or 0 = the kernel
        16     8  receiver          actor id, session id, or 0 = the kernel
        24     8  sequence          number of this envelope in this direction, from 1, no gaps,
                                    per incarnation (kernel to peer: per kernel epoch);
                                    0 = unnumbered
        32     8  acknowledged      highest sequence taken in the opposite direction
        40     8  message           message id; 0 until the kernel has accepted it
        48     8  turn              id of the message whose turn sent this; 0 outside turns
        56     8  correlation       the asker's own number of a call; answers carry it back
        64     8  deadline          nanoseconds left when sent; 0 = none
        72    16  trace             trace id; zero = none
        88    16  digest            call digest; zero = not a recorded call
       104     4  index             count or number; meaning depends on the kind
       108     4  payload_len       bytes
       112     8  attachments_len   bytes, all parts of this envelope together
       120     4  payload_checksum  low 32 bits of XXH64(payload), seed 0
       124     4  header_checksum   low 32 bits of XXH64(bytes [0, 124) of this header), seed 0

Ids: bit 63 set = session of a client; else bits 48-62 the node, bits 0-47 a
counter that is never reused. Attachments are not covered by a checksum: each
reader on the way would pay a pass over them (0.07 ms a MiB).

If flag HAS_REFS is set the payload begins with a reference table: u16 count,
then count u64 actor ids: the actors whose handles this message passes on. The
msgpack body follows. Changing any row means a new version number and an entry
in SEMANTICS.md. The C mirror is ext/wire.pxd.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from ext.wire import HEADER_SIZE, Envelope, checksum, pack_parts, unpack_parts
from ipc.errors import BadFrameError
from ipc.protocol import Flag

__all__ = [
    "HEADER_SIZE",
    "MAX_PAYLOAD",
    "Envelope",
    "bad_frame",
    "checksum",
    "decode",
    "encode",
    "join_refs",
    "split_refs",
]

MAX_PAYLOAD = 64 << 20  # bytes; larger bodies travel as attachments

_REASONS = {
    1: "it is empty, or its last header is cut short",
    2: "wrong magic",
    3: "unknown version",
    4: "header checksum",
    5: "payload above the limit",
    6: "its last payload is cut short",
    7: "payload checksum",
    8: "attachments do not add up",
    9: "priority above 7",
    10: "no parts",
}


def encode(envelopes: list[Envelope]) -> list[Any]:
    """Return the parts of one ZeroMQ message that carries the batch.

    Attachments are the very buffers given, not copies.
    Raises ValueError for a field the header cannot hold.
    """
    return pack_parts(envelopes)


def decode(parts: Sequence[Any], max_payload: int = MAX_PAYLOAD) -> list[Envelope]:
    """Return the envelopes of one ZeroMQ message (without its routing id).

    Raises:
        BadFrameError: the bytes are not a batch; nothing of it may be used.
    """
    status, envelopes = unpack_parts(parts, max_payload)
    if status:
        raise bad_frame(status)
    return envelopes


def bad_frame(status: int) -> BadFrameError:
    """Return the error of a batch that ``ext.wire.unpack_parts`` refuses with this status."""
    return BadFrameError(reason=_REASONS[status])


def join_refs(refs: Sequence[int], body: bytes) -> bytes:
    """Return a payload that begins with the reference table."""
    return struct.pack(f"<H{len(refs)}Q", len(refs), *refs) + body


def split_refs(envelope: Envelope) -> tuple[tuple[int, ...], bytes]:
    """Return ``(refs, body)`` of an envelope's payload.

    Raises:
        BadFrameError: flag HAS_REFS is set, but the table is cut short.
    """
    payload = envelope.payload
    if not envelope.flags & Flag.HAS_REFS:
        return (), payload
    if len(payload) < 2 or len(payload) < 2 + 8 * (count := struct.unpack_from("<H", payload)[0]):
        raise BadFrameError(reason="the reference table is cut short")
    return struct.unpack_from(f"<{count}Q", payload, 2), payload[2 + 8 * count :]
