"""The msgpack extensions that need nothing but their own bytes; table in ipc/payload.py.

What it is not: sets, arrays, blobs and references, whose content points elsewhere
(ipc/payload.py, ipc/arrays.py). Unpackers raise ValueError, OverflowError, ArithmeticError or
struct.error for content that lies; ipc/payload.py turns these into BadFrameError.
Cost: below 1 us each.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import IntEnum
from typing import Any
from uuid import UUID

_EPOCH = datetime(1970, 1, 1)
_MICROSECOND = timedelta(microseconds=1)
_MAX_DECIMAL = 4096  # characters
_MAX_INT = 4096  # bytes
MAX_SET_DEPTH = 4  # sets inside sets: each level is one more copy of its bytes


class Code(IntEnum):
    """Extension codes; append only, never renumber."""

    DATETIME = 1
    DATE = 2
    TIME = 3
    TIMEDELTA = 4
    UUID = 5
    DECIMAL = 6
    INT = 7
    SET = 8
    FROZENSET = 9
    ARRAY = 10
    SCALAR = 11
    TENSOR = 12
    BLOB = 13
    REFERENCE = 14


def _microseconds(value: timedelta) -> int:
    return value // _MICROSECOND


def _with_offset(microseconds: int, zone: tzinfo | None, offset: timedelta | None) -> bytes:
    if zone is None:
        return struct.pack("<q", microseconds)
    if offset is None:
        raise ValueError("its time zone has no fixed offset: combine it with a date first")
    return struct.pack("<qq", microseconds, _microseconds(offset))


def _split_offset(data: bytes) -> tuple[int, timezone | None]:
    if len(data) == 8:
        return struct.unpack("<q", data)[0], None
    microseconds, offset = struct.unpack("<qq", data)
    return microseconds, timezone(timedelta(microseconds=offset))


def _pack_datetime(value: datetime) -> bytes:
    wall = _microseconds(value.replace(tzinfo=None) - _EPOCH)
    return _with_offset(wall, value.tzinfo, value.utcoffset())


def _unpack_datetime(data: bytes) -> datetime:
    microseconds, zone = _split_offset(data)
    return (_EPOCH + timedelta(microseconds=microseconds)).replace(tzinfo=zone)


def _pack_time(value: time) -> bytes:
    wall = datetime.combine(_EPOCH, value.replace(tzinfo=None)) - _EPOCH
    return _with_offset(_microseconds(wall), value.tzinfo, value.utcoffset())


def _unpack_time(data: bytes) -> time:
    microseconds, zone = _split_offset(data)
    if not 0 <= microseconds < 86_400_000_000:
        raise ValueError("a time of day has 24 hours")
    return (_EPOCH + timedelta(microseconds=microseconds)).time().replace(tzinfo=zone)


def _unpack_timedelta(data: bytes) -> timedelta:
    days, seconds, microseconds = struct.unpack("<iii", data)
    return timedelta(days, seconds, microseconds)


def _pack_decimal(value: Decimal) -> bytes:
    text = str(value).encode("ascii")
    if len(text) > _MAX_DECIMAL:
        raise ValueError(f"a Decimal has at most {_MAX_DECIMAL} characters, this one {len(text)}")
    return text


def _unpack_decimal(data: bytes) -> Decimal:
    if len(data) > _MAX_DECIMAL:
        raise ValueError("the Decimal is too long")
    return Decimal(data.decode("ascii"))


def _pack_int(value: int) -> bytes:
    length = value.bit_length() // 8 + 1
    if length > _MAX_INT:
        raise ValueError(f"an int has at most {_MAX_INT} bytes, this one {length}")
    return value.to_bytes(length, "little", signed=True)


def _unpack_int(data: bytes) -> int:
    if len(data) > _MAX_INT:
        raise ValueError("the int is too long")
    return int.from_bytes(data, "little", signed=True)


# By exact type: a subclass may carry more than its base (pandas.Timestamp has nanoseconds).
PACKERS: dict[type, tuple[Code, Callable[[Any], bytes]]] = {
    datetime: (Code.DATETIME, _pack_datetime),
    date: (Code.DATE, lambda value: struct.pack("<i", value.toordinal())),
    time: (Code.TIME, _pack_time),
    timedelta: (
        Code.TIMEDELTA,
        lambda value: struct.pack("<iii", value.days, value.seconds, value.microseconds),
    ),
    UUID: (Code.UUID, lambda value: value.bytes),
    Decimal: (Code.DECIMAL, _pack_decimal),
    int: (Code.INT, _pack_int),
}

UNPACKERS: dict[int, Callable[[bytes], Any]] = {
    Code.DATETIME: _unpack_datetime,
    Code.DATE: lambda data: date.fromordinal(struct.unpack("<i", data)[0]),
    Code.TIME: _unpack_time,
    Code.TIMEDELTA: _unpack_timedelta,
    Code.UUID: lambda data: UUID(bytes=data),
    Code.DECIMAL: _unpack_decimal,
    Code.INT: _unpack_int,
}
