"""Packs one message body: msgpack, with extensions for what msgpack has no type for.

What it is not: the public door and the table of extensions (ipc/payload.py).

Invariants:
  I1  equal values, built in the same order, give equal bytes in every process: a set's
      elements are sorted by their bytes, references in it by the actor they mean.
  I2  each attachment is named exactly once in the body, in ascending order.
  I3  what was encoded can be decoded: it is no deeper than ext/structure.pyx allows.

Cost: about 1 us for a small plain body. An encoder serves one call at a time.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import msgpack
from typing_extensions import Buffer

from ext.structure import MAX_DEPTH, check
from ipc import arrays, refusal
from ipc.extensions import MAX_SET_DEPTH, PACKERS, Code
from ipc.plain import encode_plain

INLINE_ARRAY = 4 << 10  # bytes; a larger array travels as an attachment
INLINE_BYTES = 64 << 10  # likewise bytes, bytearray and memoryview
MAX_ATTACHMENTS = 255  # what an envelope can count; further large values stay inline
MAX_REFERENCES = (1 << 16) - 1

RefId = Callable[[Any], int | None]


class Body(NamedTuple):
    """An encoded value. refs: actor ids for ipc.envelope.join_refs; attachments: not copied."""

    data: bytes
    refs: tuple[int, ...] = ()
    attachments: tuple[Buffer, ...] = ()


# A named tuple's own __new__ is a Python function, which costs as much as packing a small body.
_plain_body: Callable[[tuple[Any, ...]], Body] = partial(tuple.__new__, Body)


class _Blob:
    """Stands for a large bytes object that is to travel as an attachment."""

    __slots__ = ("data",)

    def __init__(self, data: Buffer) -> None:
        self.data = data


class Refused(Exception):
    """A value that cannot be encoded, on its way to ``encode``."""

    def __init__(self, value: Any, hint: str) -> None:
        super().__init__(hint)
        self.value = value
        self.hint = hint


class Encoder:
    """One packer, and what the call it serves has put beside the body."""

    __slots__ = ("attachments", "is_keying", "pack", "ref_id", "refs", "set_depth")

    def __init__(self) -> None:
        self.pack = msgpack.Packer(default=self._extension, buf_size=16 << 10).pack
        self.ref_id: RefId | None = None
        self.refs: list[int] = []
        self.attachments: list[Buffer] = []
        self.set_depth = 0
        self.is_keying = False  # the bytes are only for sorting a set's elements

    def encode(self, value: Any, ref_id: RefId | None) -> Body:
        """Encode one value; after an exception the encoder must not be used again."""
        self.ref_id = ref_id
        if type(value) in _BYTES and _is_large(value):  # saves packing it in vain
            value = _lift(value)
        data: bytes = self.pack(value)
        if len(data) > INLINE_BYTES and (lifted := _lift(value)) is not value:
            self._forget()
            data = self.pack(lifted)
        _check_depth(data)
        if not self.refs and not self.attachments:
            return _plain_body((data, (), ()))
        body = Body(data, tuple(self.refs), tuple(self.attachments))
        self._forget()
        return body

    def _forget(self) -> None:
        self.refs.clear()
        self.attachments.clear()

    def _extension(self, value: Any) -> msgpack.ExtType:
        """Encode what msgpack has no type for; msgpack calls this."""
        try:
            return self._extend(value)
        except (ValueError, struct.error) as problem:
            raise Refused(value, str(problem)) from None

    def _extend(self, value: Any) -> msgpack.ExtType:
        packer = PACKERS.get(type(value))
        if packer is not None:
            return msgpack.ExtType(packer[0], packer[1](value))
        if self.ref_id is not None and (actor := self.ref_id(value)) is not None:
            return msgpack.ExtType(Code.REFERENCE, self._reference(actor))
        if isinstance(value, set | frozenset):
            return self._set(value)
        if type(value) is _Blob:
            return self._blob(value.data)
        if arrays.is_array(value):
            return self._array(Code.ARRAY, arrays.export_array(value))
        if arrays.is_tensor(value):
            return self._array(Code.TENSOR, arrays.export_tensor(value))
        if arrays.is_scalar(value):
            scalar = arrays.export_array(value.reshape(()))
            return msgpack.ExtType(Code.SCALAR, encode_plain([scalar.dtype, scalar.data.tobytes()]))
        raise Refused(value, refusal.hint(value))

    def _reference(self, actor: int) -> bytes:
        if self.is_keying:
            return struct.pack("<Q", actor)
        if actor not in self.refs:
            if len(self.refs) == MAX_REFERENCES:
                raise ValueError(f"a message passes on at most {MAX_REFERENCES} references")
            self.refs.append(actor)
        return struct.pack("<H", self.refs.index(actor))

    def _set(self, value: set[Any] | frozenset[Any]) -> msgpack.ExtType:
        if self.set_depth == MAX_SET_DEPTH:
            raise ValueError(f"sets may lie {MAX_SET_DEPTH} deep in each other")
        self.set_depth += 1
        # A packer of its own: ``self.pack`` is in use further up the stack.
        packer = msgpack.Packer(default=self._extension, buf_size=1 << 10)
        elements = self._sorted(value, packer.pack)
        header = packer.pack_array_header(len(value))
        body = header + b"".join([packer.pack(element) for element in elements])
        _check_depth(body)
        self.set_depth -= 1
        return msgpack.ExtType(Code.SET if isinstance(value, set) else Code.FROZENSET, body)

    def _sorted(self, elements: Any, pack: Callable[[Any], bytes]) -> list[Any]:
        """Order a set's elements by their bytes, references by what they refer to (I2)."""
        was_keying, self.is_keying = self.is_keying, True
        keyed = {pack(element): element for element in elements}
        self.is_keying = was_keying
        return [keyed[key] for key in sorted(keyed)]

    def _blob(self, data: Buffer) -> msgpack.ExtType | bytes:
        if len(self.attachments) == MAX_ATTACHMENTS:
            return bytes(data)
        self.attachments.append(data)
        return msgpack.ExtType(Code.BLOB, bytes([len(self.attachments) - 1]))

    def _array(self, code: Code, array: arrays.Exported) -> msgpack.ExtType:
        content: Any
        if array.data.nbytes <= INLINE_ARRAY or len(self.attachments) == MAX_ATTACHMENTS:
            content = array.data.tobytes()
        else:
            content = len(self.attachments)
            self.attachments.append(array.data)
        fields = [array.dtype, list(array.shape), array.order, content]
        return msgpack.ExtType(code, encode_plain(fields))


def _check_depth(data: bytes) -> None:
    """Refuse what nobody could read: msgpack itself writes deeper than ``decode`` follows."""
    if len(data) >= MAX_DEPTH and check(data):  # a level costs a byte at least
        raise ValueError(f"it is nested more than {MAX_DEPTH} levels deep, or contains itself")


_BYTES = (bytes, bytearray, memoryview)


def _is_large(value: Any) -> bool:
    return type(value) in _BYTES and memoryview(value).nbytes > INLINE_BYTES


def _lift(value: Any) -> Any:
    """Return the value with large bytes marked as attachments; itself if there are none."""
    if _is_large(value):
        return _Blob(arrays.byte_view(value))
    if isinstance(value, list | tuple):
        lifted = [_lift(item) for item in value]
        return lifted if any(map(_is_other, lifted, value)) else value
    if isinstance(value, dict):
        items = {key: _lift(item) for key, item in value.items()}
        return items if any(map(_is_other, items.values(), value.values())) else value
    return value


def _is_other(one: Any, other: Any) -> bool:
    return one is not other
