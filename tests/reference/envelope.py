"""The wire format a second time, from the byte table alone: struct and plain Python.

Shares no code with ext/wire.pyx or ipc/envelope.py; the oracle of their tests.
"""

from __future__ import annotations

import re
import struct
from typing import Any

# struct's letters for the integer sizes of the table; 16 bytes are opaque.
_LETTER = {1: "B", 2: "H", 4: "I", 8: "Q", 16: "16s"}
_ROW = re.compile(r"^ +(\d+) +(\d+)  (\w+) ")
_MASK = (1 << 64) - 1

FIELDS = {
    "magic": 2,
    "version": 1,
    "kind": 1,
    "flags": 2,
    "priority": 1,
    "num_attachments": 1,
    "sender": 8,
    "receiver": 8,
    "sequence": 8,
    "acknowledged": 8,
    "message": 8,
    "turn": 8,
    "correlation": 8,
    "deadline": 8,
    "trace": 16,
    "digest": 16,
    "index": 4,
    "payload_len": 4,
    "attachments_len": 8,
    "payload_checksum": 4,
    "header_checksum": 4,
}
LAYOUT = struct.Struct("<" + "".join(_LETTER[size] for size in FIELDS.values()))


def parse_table(text: str) -> list[tuple[int, int, str]]:
    """Return ``(offset, size, field)`` of each row of a byte table in a module head."""
    rows = [match.groups() for line in text.splitlines() if (match := _ROW.match(line))]
    return [(int(offset), int(size), field) for offset, size, field in rows]


def write_batch(batch: list[dict[str, Any]]) -> list[bytes]:
    """Return the parts of a message; each entry has header fields, payload, attachments."""
    part, attachments = b"", []
    for entry in batch:
        part += write_header(entry) + entry["payload"]
        attachments += entry["attachments"]
    return [part, *attachments]


def write_header(entry: dict[str, Any]) -> bytes:
    """Return the 128 bytes; lengths and checksums are worked out here."""
    derived = {
        "magic": 0x4F4C,
        "version": 1,
        "num_attachments": len(entry["attachments"]),
        "payload_len": len(entry["payload"]),
        "attachments_len": sum(map(len, entry["attachments"])),
        "payload_checksum": xxh64(entry["payload"]) & 0xFFFFFFFF,
        "header_checksum": 0,
    }
    bare = LAYOUT.pack(*((entry | derived)[field] for field in FIELDS))[:124]
    return bare + struct.pack("<I", xxh64(bare) & 0xFFFFFFFF)


def read_header(header: bytes) -> dict[str, Any]:
    """Return the fields of one header; checks the magic, the version and the header's sum."""
    fields = dict(zip(FIELDS, LAYOUT.unpack(header), strict=True))
    assert (fields["magic"], fields["version"]) == (0x4F4C, 1)
    assert fields["header_checksum"] == xxh64(header[:124]) & 0xFFFFFFFF
    return fields


P1, P2, P3, P4, P5 = (
    0x9E3779B185EBCA87,
    0xC2B2AE3D27D4EB4F,
    0x165667B19E3779F9,
    0x85EBCA77C2B2AE63,
    0x27D4EB2F165667C5,
)


def xxh64(data: bytes) -> int:
    """Return XXH64 with seed 0, step by step as its specification tells it."""
    position = len(data) - len(data) % 32
    value = _stripes(data[:position]) if position else P5
    value = (value + len(data)) & _MASK
    for size, step in ((8, _eat8), (4, _eat4), (1, _eat1)):
        while len(data) - position >= size:
            value = step(value, int.from_bytes(data[position : position + size], "little"))
            position += size
    value = (value ^ value >> 33) * P2 & _MASK
    value = (value ^ value >> 29) * P3 & _MASK
    return value ^ value >> 32


def _stripes(data: bytes) -> int:
    lanes = [(P1 + P2) & _MASK, P2, 0, -P1 & _MASK]
    for words in struct.iter_unpack("<4Q", data):
        lanes = [_round(lane, word) for lane, word in zip(lanes, words, strict=True)]
    value = sum(_rotate(lane, by) for lane, by in zip(lanes, (1, 7, 12, 18), strict=True)) & _MASK
    for lane in lanes:
        value = ((value ^ _round(0, lane)) * P1 + P4) & _MASK
    return value


def _rotate(value: int, by: int) -> int:
    return (value << by | value >> (64 - by)) & _MASK


def _round(lane: int, word: int) -> int:
    return _rotate((lane + word * P2) & _MASK, 31) * P1 & _MASK


def _eat8(value: int, word: int) -> int:
    return (_rotate(value ^ _round(0, word), 27) * P1 + P4) & _MASK


def _eat4(value: int, word: int) -> int:
    return (_rotate(value ^ (word * P1 & _MASK), 23) * P2 + P3) & _MASK


def _eat1(value: int, byte: int) -> int:
    return _rotate(value ^ (byte * P5 & _MASK), 11) * P1 & _MASK
