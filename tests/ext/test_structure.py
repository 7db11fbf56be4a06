"""ext/structure.pyx: the walk agrees with msgpack, and refuses what announces too much."""

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext.structure import MAX_DEPTH, check

OK, TRUNCATED, TRAILING, TOO_DEEP, BAD_BYTE = 0, 1, 2, 3, 4

extensions = st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=300))
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text()
    | st.binary(max_size=300)
    | extensions
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(), inner, max_size=20),
)


@given(values)
def test_whatever_msgpack_writes_is_one_whole_value(value: object) -> None:
    assert check(msgpack.packb(value)) == OK


@given(values, st.data())
def test_a_value_cut_short_or_followed_by_bytes_is_refused(value: object, data: st.DataObject):
    packed = msgpack.packb(value)
    cut = data.draw(st.integers(0, len(packed) - 1))

    assert check(packed[:cut]) == TRUNCATED
    assert check(packed + b"\xc0") == TRAILING


@given(st.binary(max_size=40))
def test_the_walk_agrees_with_msgpack_about_any_bytes(noise: bytes) -> None:
    unpacker = msgpack.Unpacker(strict_map_key=False, raw=True, ext_hook=msgpack.ExtType)
    unpacker.feed(noise)
    try:
        unpacker.skip()
        whole = unpacker.tell() == len(noise)
    except (msgpack.OutOfData, msgpack.FormatError):
        whole = False

    assert (check(noise) == OK) == whole


@pytest.mark.parametrize("size", [0, 15, 16, 31, 32, 255, 256, 65535, 65536])
@pytest.mark.parametrize("make", [bytes, lambda n: "x" * n, lambda n: [None] * n])
def test_every_width_of_length_field_is_understood(size: int, make) -> None:
    packed = msgpack.packb(make(size))

    assert check(packed) == OK
    assert check(packed[:-1]) == TRUNCATED


@pytest.mark.parametrize("length", [1, 2, 4, 8, 16, 3, 200, 300, 70000])
def test_every_width_of_extension_is_understood(length: int) -> None:
    packed = msgpack.packb(msgpack.ExtType(5, bytes(length)))

    assert check(packed) == OK
    assert check(packed[:-1]) == TRUNCATED


@pytest.mark.parametrize(
    "bomb",
    [
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xc9\xff\xff\xff\xff\x01",
        b"\xdd\x00\x00\x10\x00" * 900 + bytes(0x1000),
    ],
)
def test_announcing_more_than_there_is_is_refused(bomb: bytes) -> None:
    assert check(bomb) == TRUNCATED


def test_the_unused_byte_is_refused() -> None:
    assert check(b"\x92\xc0\xc1") == BAD_BYTE


@pytest.mark.parametrize("innermost", [b"\x90", b"\x91\xc0", b"\x80", b"\x81\xc0\xc0"])
def test_nesting_has_a_limit(innermost: bytes) -> None:
    assert check(b"\x91" * (MAX_DEPTH - 1) + innermost) == OK
    assert check(b"\x91" * MAX_DEPTH + innermost) == TOO_DEEP
    assert check(b"\x81\xc0\x91\x91" + innermost, 3) == TOO_DEEP


def test_siblings_do_not_count_as_nesting() -> None:
    assert check(msgpack.packb([[[]] for _ in range(5000)]), 3) == OK


@pytest.mark.parametrize("depth", [-1, MAX_DEPTH + 1])
def test_a_depth_the_walk_has_no_room_for_is_refused(depth: int) -> None:
    with pytest.raises(ValueError, match="depth"):
        check(b"\xc0", depth)
