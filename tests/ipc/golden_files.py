"""The checked-in bytes under tests/ipc/golden, how they are read, and what they stand for.

``python -m tests.ipc.golden_files`` writes the files that are not there yet. A file that is
there is never written again: other bytes for it mean another wire version.
Format: a line ``part N`` before each part, then its bytes in hexadecimal, 32 to a line.
"""

from __future__ import annotations

import datetime
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from ipc import payload
from ipc.protocol import Flag, Kind
from tests.reference import envelope as reference

FOLDER = Path(__file__).parent / "golden"

BLANK: dict[str, Any] = {
    "kind": 0,
    "flags": 0,
    "priority": 4,
    "sender": 0,
    "receiver": 0,
    "sequence": 0,
    "acknowledged": 0,
    "message": 0,
    "turn": 0,
    "correlation": 0,
    "deadline": 0,
    "trace": b"",
    "digest": b"",
    "index": 0,
    "payload": b"",
    "attachments": (),
}

FULL_ASK = BLANK | {
    "kind": Kind.ASK,
    "flags": Flag.HAS_REFS | Flag.STREAM,
    "priority": 7,
    "sender": 0x0001_0000_0000_0002,
    "receiver": 0x8123_4567_89AB_CDEF,
    "sequence": 3,
    "acknowledged": 4,
    "message": 5,
    "turn": 6,
    "correlation": 7,
    "deadline": 8_000_000_000,
    "trace": bytes(range(16)),
    "digest": bytes(range(16, 32)),
    "index": 0xFFFFFFFF,
    # A table of two references, then msgpack of ["solve", ["text"], {}].
    "payload": b"\x02\x00"
    + (9).to_bytes(8, "little")
    + (10).to_bytes(8, "little")
    + bytes.fromhex("93a5736f6c766591a47465787480"),
    "attachments": (b"first part", b"", b"third"),
}

BATCHES: dict[str, list[dict[str, Any]]] = {
    "batch_ack": [BLANK | {"kind": Kind.ACK, "sender": 2, "acknowledged": 41}],
    "batch_full_ask": [FULL_ASK],
    "batch_commit_with_effects": [
        BLANK | {"kind": Kind.COMMIT, "sender": 2, "sequence": 10, "turn": 77, "index": 2},
        BLANK
        | {
            "kind": Kind.TELL,
            "sender": 2,
            "receiver": 3,
            "sequence": 11,
            "payload": bytes.fromhex("93a4646f6e65900180"),
            "attachments": (b"\x00\x01\x02\x03",),
        },
        BLANK | {"kind": Kind.REPLY, "sender": 2, "sequence": 12, "payload": b"\xc0"},
    ],
}

_DAY = datetime.datetime(2024, 2, 29, 12, 34, 56, 789)
_ZONE = datetime.timezone(datetime.timedelta(hours=-3, minutes=-30))

BODIES: dict[str, Any] = {
    "body_call": ["solve", ["text", 1, -1, 2.5, None, True, b"\x00\xff"], {"key": {"a": [1]}}],
    "body_scalars": [
        _DAY,
        _DAY.replace(tzinfo=_ZONE),
        _DAY.date(),
        _DAY.time(),
        _DAY.timetz().replace(tzinfo=_ZONE),
        datetime.timedelta(days=-1, microseconds=1),
        uuid.UUID("12345678-1234-5678-1234-567812345678"),
        Decimal("-1.50E+3"),
        2**64,
        -(2**64),
    ],
    "body_sets": [{"b", "a", 3, 1, (1, 2)}, frozenset({frozenset({1}), frozenset()})],
    "body_small_arrays": [
        np.arange(6, dtype="<i4").reshape(2, 3),
        np.asfortranarray(np.arange(6, dtype="<f8").reshape(2, 3)),
        np.array("2024-02-29", "<M8[D]"),
        np.array(["ab", "c"], "<U2"),
        np.int16(-2),
        np.zeros((0, 3), "<f4"),
    ],
    "body_attachment": [np.arange(1025, dtype="<u4")],
}


def write(name: str, parts: list[bytes]) -> None:
    """Write a golden file unless it is there."""
    lines: list[str] = []
    for number, part in enumerate(parts):
        lines += [f"part {number}", *(part[i : i + 32].hex() for i in range(0, len(part), 32))]
    path = FOLDER / f"{name}.hex"
    if not path.exists():
        path.write_text("\n".join(lines) + "\n")


def read(name: str) -> list[bytes]:
    """Return the parts of a golden file."""
    parts: list[bytes] = []
    for line in (FOLDER / f"{name}.hex").read_text().splitlines():
        if line.startswith("part "):
            parts.append(b"")
        else:
            parts[-1] += bytes.fromhex(line)
    return parts


def main() -> None:
    for name, batch in BATCHES.items():
        write(name, reference.write_batch(batch))
    for name, value in BODIES.items():
        body = payload.encode(value)
        write(name, [body.data, *map(bytes, body.attachments)])


if __name__ == "__main__":
    main()
