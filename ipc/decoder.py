"""Reads one message body; the counterpart of ipc/encoder.py.

What it is not: the public door and the table of extensions (ipc/payload.py).

Invariant: whatever the bytes say, memory stays in proportion to them: their structure is
walked first, sets nest to a limit, and an attachment is given out once.
Cost: about 0.7 us for a small plain body. A decoder serves one body.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

import msgpack
from typing_extensions import Buffer

from ipc import arrays
from ipc.extensions import MAX_SET_DEPTH, UNPACKERS, Code
from ipc.plain import check_structure, decode_plain

MakeRef = Callable[[int], Any]


Extension = Callable[[int, bytes], Any]


def unpack(data: bytes, extension: Extension, *, use_list: bool = True) -> Any:
    """Return the value; raises one of ipc.plain.DECODING_FAILED. The structure is sound.

    extension: what reads the extensions in it: ``Decoder.extension``, or ``lone_extension``.
    """
    return msgpack.unpackb(
        data, ext_hook=extension, use_list=use_list, strict_map_key=False, timestamp=3
    )


def lone_extension(code: int, data: bytes) -> Any:
    """Read an extension of a body without attachments and references, which few bodies hold."""
    return Decoder((), None).extension(code, data)


def listed(value: Any) -> Any:
    """Return the value with tuples turned into lists, except in keys and sets."""
    if type(value) is tuple:
        return list(map(listed, value))
    if type(value) is dict:
        return {key: listed(item) for key, item in value.items()}
    return value


class Decoder:
    """Reads the extensions of one body."""

    __slots__ = ("attachments", "given", "make_ref", "set_depth")

    def __init__(self, attachments: Sequence[Buffer], make_ref: MakeRef | None) -> None:
        self.attachments = attachments
        self.given = 0  # attachments given out: the encoder names each once, in order
        self.make_ref = make_ref
        self.set_depth = 0

    def extension(self, code: int, data: bytes) -> Any:
        """Return the value of one extension; raises one of DECODING_FAILED."""
        read = UNPACKERS.get(code)
        if read is not None:
            return read(data)
        if code in (Code.SET, Code.FROZENSET):
            elements = self._elements(data)
            return set(elements) if code == Code.SET else frozenset(elements)
        if code == Code.SCALAR:
            dtype, content = decode_plain(data)
            return arrays.restore_scalar(dtype, content)
        if code == Code.ARRAY:
            return arrays.restore_array(self._exported(data))
        if code == Code.TENSOR:
            return arrays.restore_tensor(self._exported(data))
        if code == Code.BLOB:
            blob = self._take(data[0] if len(data) == 1 else None)
            return blob if type(blob) is bytes else bytes(blob)
        if code == Code.REFERENCE:
            return self._reference(data)
        raise ValueError(f"unknown extension {code}")

    def _elements(self, data: bytes) -> tuple[Any, ...]:
        if self.set_depth == MAX_SET_DEPTH:
            raise ValueError("sets are nested too deeply")
        check_structure(data)
        self.set_depth += 1
        elements = unpack(data, self.extension, use_list=False)
        self.set_depth -= 1
        if type(elements) is not tuple:
            raise ValueError("a set is an array of elements")
        return elements

    def _exported(self, data: bytes) -> arrays.Exported:
        dtype, shape, order, content = decode_plain(data)
        buffer = content if type(content) is bytes else self._take(content)
        if type(shape) is not list:
            raise ValueError("a shape is a list")
        return arrays.Exported(dtype, tuple(shape), order, arrays.byte_view(buffer))

    def _take(self, number: Any) -> Buffer:
        """Return an attachment, once: else a few bytes could ask for many copies of it."""
        if type(number) is not int or not 0 <= number < len(self.attachments):
            raise ValueError("no such attachment")
        if number < self.given:
            raise ValueError("attachments are named once, in order")
        self.given = number + 1
        return self.attachments[number]

    def _reference(self, data: bytes) -> Any:
        if self.make_ref is None:
            raise ValueError("a reference in a body that may hold none")
        return self.make_ref(struct.unpack("<H", data)[0])
