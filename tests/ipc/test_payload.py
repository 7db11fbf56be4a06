"""ipc/payload.py: values come back, the table is what is written, and lies are refused."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import pathlib
import struct
import subprocess
import sys
import threading
import uuid
from collections import OrderedDict
from contextlib import suppress
from decimal import Decimal
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipc.errors import BadFrameError, NotEncodableError
from ipc.extensions import Code
from ipc.payload import Body, call_digest, decode, decode_plain, encode, encode_plain
from tests.ipc import golden_files

offsets = st.timedeltas(dt.timedelta(hours=-23), dt.timedelta(hours=23)).map(dt.timezone)
zones = st.none() | offsets
hashables = (
    st.none()
    | st.booleans()
    | st.integers(-(2**200), 2**200)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(max_size=100)
    | st.datetimes(timezones=st.just(None) | offsets)
    | st.dates()
    | st.times(timezones=zones)
    | st.timedeltas()
    | st.uuids()
    | st.decimals(allow_nan=False)
)
keys = st.recursive(hashables, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=5)
values = st.recursive(
    hashables | st.sets(keys, max_size=5) | st.frozensets(keys, max_size=5),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(keys, inner, max_size=5),
    max_leaves=20,
)


def roundtrip(value: Any) -> Any:
    body = encode(value)
    return decode(body.data, body.attachments)


@given(values)
def test_a_value_arrives_as_it_was_sent(value: Any) -> None:
    back = roundtrip(value)

    assert back == value
    assert type(back) is type(value)


@given(values)
def test_equal_values_have_equal_bytes(value: Any) -> None:
    assert encode(roundtrip(value)) == encode(value)


@pytest.mark.parametrize(
    ("value", "arrives_as"),
    [
        ((1, (2,)), [1, [2]]),
        ({(1, 2): (3,), 4: [(5,)]}, {(1, 2): [3], 4: [[5]]}),
        (bytearray(b"x"), b"x"),
        (memoryview(b"x"), b"x"),
        (enum.IntEnum("Level", "HIGH").HIGH, 1),
        (enum.StrEnum("Colour", {"RED": "red"}).RED, "red"),
        (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (True, True),
        (2**64 - 1, 2**64 - 1),
        (2**64, 2**64),
        (-(2**63) - 1, -(2**63) - 1),
    ],
)
def test_what_changes_on_the_way_is_what_the_head_says(value: Any, arrives_as: Any) -> None:
    back = roundtrip(value)

    assert back == arrives_as
    assert type(back) is type(arrives_as)


def test_dicts_keep_the_order_in_which_they_were_built() -> None:
    assert list(roundtrip({"b": 1, "a": 2, "c": 3})) == ["b", "a", "c"]


_ZONE = dt.timezone(dt.timedelta(hours=-1))


@pytest.mark.parametrize(
    ("value", "code", "content"),
    [
        (dt.datetime(1970, 1, 2, microsecond=5), 1, struct.pack("<q", 86_400_000_005)),
        (dt.datetime(1970, 1, 1, tzinfo=_ZONE), 1, struct.pack("<qq", 0, -3_600_000_000)),
        (dt.date(1, 1, 2), 2, struct.pack("<i", 2)),
        (dt.time(0, 0, 1), 3, struct.pack("<q", 1_000_000)),
        (dt.time(0, 0, 1, tzinfo=_ZONE), 3, struct.pack("<qq", 1_000_000, -3_600_000_000)),
        (dt.timedelta(microseconds=-1), 4, struct.pack("<iii", -1, 86399, 999_999)),
        (uuid.UUID(int=258), 5, bytes(14) + b"\x01\x02"),
        (Decimal("1.50"), 6, b"1.50"),
        (2**64, 7, bytes(8) + b"\x01"),
        (-(2**64), 7, bytes(8) + b"\xff"),
        ({1, "a"}, 8, b"\x92\x01\xa1a"),
        (frozenset([3, 1]), 9, b"\x92\x01\x03"),
    ],
)
def test_each_extension_is_what_the_table_says(value: Any, code: int, content: bytes) -> None:
    assert encode(value).data == msgpack.packb(msgpack.ExtType(code, content))


def test_the_table_names_every_extension_code() -> None:
    import ipc.payload

    table = ipc.payload.__doc__ or ""

    assert all(f"\n      {code:>2}  " in table for code in Code)


@pytest.mark.parametrize("name", golden_files.BODIES)
def test_golden_bodies_are_written_and_read_unchanged(name: str) -> None:
    data, *attachments = golden_files.read(name)
    body = encode(golden_files.BODIES[name])

    assert [body.data, *map(bytes, body.attachments)] == [data, *attachments]
    again = encode(decode(data, attachments))
    assert [again.data, *map(bytes, again.attachments)] == [data, *attachments]


def test_timestamps_of_other_writers_are_read_as_utc() -> None:
    data = msgpack.packb(msgpack.Timestamp(1, 500_000_000))

    assert decode(data) == dt.datetime(1970, 1, 1, 0, 0, 1, 500_000, tzinfo=dt.UTC)


# References


class Ref:
    def __init__(self, actor: int) -> None:
        self.actor = actor

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ref) and other.actor == self.actor

    def __hash__(self) -> int:
        return hash(("salted by id", id(type(self)), self.actor))


def actor_of(value: Any) -> int | None:
    return value.actor if isinstance(value, Ref) else None


def test_references_travel_beside_the_body_once_each() -> None:
    value = [Ref(7), {"other": Ref(2**63 + 5)}, Ref(7)]
    body = encode(value, ref_id=actor_of)

    assert body.refs == (7, 2**63 + 5)
    assert decode(body.data, make_ref=lambda index: Ref(body.refs[index])) == value


def test_references_in_a_set_are_ordered_by_what_they_mean() -> None:
    bodies = {encode({Ref(i) for i in ids}, ref_id=actor_of) for ids in ([9, 2, 5], [5, 9, 2])}

    (body,) = bodies
    assert body.refs == (2, 5, 9)
    assert decode(body.data, make_ref=lambda i: Ref(body.refs[i])) == {Ref(2), Ref(5), Ref(9)}


def test_a_reference_without_its_table_is_refused() -> None:
    body = encode([Ref(7)], ref_id=actor_of)

    with pytest.raises(BadFrameError, match="reference"):
        decode(body.data)
    with pytest.raises(BadFrameError):
        decode(body.data, make_ref=lambda index: ()[index])


def test_an_encoder_forgets_what_the_call_before_put_beside_its_body() -> None:
    encode([Ref(7), bytes(1 << 17)], ref_id=actor_of)

    assert encode([1]) == Body(b"\x91\x01", (), ())


# Large bytes


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: ["m", [x], {}], lambda x: {"a": [[x]]}])
def test_large_bytes_travel_as_attachments_without_a_copy(kind: Any, wrap: Any) -> None:
    large = kind(bytes(range(256)) * 257)

    body = encode(wrap(large))

    assert len(body.data) < 100
    assert memoryview(body.attachments[0]).obj is memoryview(large).obj
    assert decode(body.data, body.attachments) == wrap(bytes(large))


def test_small_bytes_travel_inline() -> None:
    assert encode(["m", [bytes(64 << 10)], {}]).attachments == ()


def test_many_small_values_are_not_mistaken_for_large_bytes() -> None:
    value = [b"x" * 100] * 2000

    assert encode(value).attachments == ()
    assert roundtrip(value) == value


def test_bytes_that_arrive_whole_are_handed_on_without_a_copy() -> None:
    large = bytes(1 << 17)
    body = encode(large)

    assert decode(body.data, [large]) is large


def test_what_exceeds_the_number_of_attachments_stays_inline() -> None:
    value = [bytes([i % 256]) * 65_537 for i in range(257)]

    body = encode(value)

    assert len(body.attachments) == 255
    assert decode(body.data, body.attachments) == value


# Refusals when encoding


@dataclasses.dataclass
class Point:
    x: int = 1


def generator() -> Any:
    yield 1


async def coroutine() -> None:
    pass


nested_sets: Any = 1
for _ in range(5):
    nested_sets = frozenset([nested_sets])


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (Point(), "asdict"),
        (enum.Enum("Plain", "A").A, "its value"),
        (pathlib.Path("/"), "str"),
        (generator(), "list"),
        (ValueError("x"), "raise it"),
        (print, "code does not travel"),
        (Point, "code does not travel"),
        (1 + 2j, "real, imag"),
        (object(), "send None"),
        (Decimal("1" * 5000), "4096"),
        (2**40_000, "4096"),
        (nested_sets, "4 deep"),
    ],
    ids=lambda parameter: type(parameter).__name__,
)
def test_what_cannot_be_sent_is_named_with_its_place_and_a_way_out(value: Any, hint: str) -> None:
    with pytest.raises(NotEncodableError, match=hint) as caught:
        encode(["method", [{"key": [0, value]}], {}])

    if value is not nested_sets:
        assert caught.value.where == "at [1][0]['key'][1]"
        assert type(value).__name__ in caught.value.type_name


def test_what_is_too_deep_to_be_read_is_not_encoded() -> None:
    deep: Any = ()
    for _ in range(600):
        deep = (deep,)
    endless: list[Any] = []
    endless.append(endless)

    for value in (deep, frozenset([deep]), endless):
        with pytest.raises(NotEncodableError, match="contains itself"):
            encode(value)


def test_a_coroutine_is_to_be_awaited_first() -> None:
    value = coroutine()

    with pytest.raises(NotEncodableError, match="await it first"):
        encode([value])
    value.close()


def test_a_pydantic_model_is_not_guessed_at() -> None:
    class Model:
        def model_dump(self) -> dict[str, Any]:
            return {}

    with pytest.raises(NotEncodableError, match="model_dump"):
        encode(Model())


@pytest.mark.parametrize("value", [["\ud800"], {"k": "\udfff"}])
def test_text_that_is_no_unicode_is_refused(value: Any) -> None:
    with pytest.raises(NotEncodableError, match="surrogates"):
        encode(value)


def test_a_value_inside_itself_is_refused() -> None:
    value: list[Any] = [bytes(1 << 17)]
    value.append(value)

    with pytest.raises(NotEncodableError):
        encode(value)
    with pytest.raises(NotEncodableError):
        encode_plain(value)


def test_subclasses_that_may_carry_more_are_refused() -> None:
    class Timestamp(dt.datetime):
        nanosecond = 5

    with pytest.raises(NotEncodableError, match="Timestamp"):
        encode(Timestamp(2024, 1, 1))


def test_a_time_of_a_moving_zone_is_refused() -> None:
    zoneinfo = pytest.importorskip("zoneinfo")
    try:
        berlin = zoneinfo.ZoneInfo("Europe/Berlin")
    except zoneinfo.ZoneInfoNotFoundError:
        pytest.skip("no time zones on this machine")

    assert roundtrip(dt.datetime(2024, 7, 1, tzinfo=berlin)).utcoffset() == dt.timedelta(hours=2)
    with pytest.raises(NotEncodableError, match="offset"):
        encode(dt.time(12, tzinfo=berlin))


def test_encoding_after_a_refusal_works() -> None:
    for _ in range(20):
        with pytest.raises(NotEncodableError):
            encode(["x", {1, object()}])

    assert encode([1]).data == b"\x91\x01"


def test_threads_do_not_mix_their_bodies() -> None:
    def work(number: int) -> None:
        value = [number, {number, number + 1}, bytes([number]) * 70_000]
        results.extend(roundtrip(value) == value for _ in range(50))

    results: list[bool] = []
    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert results == [True] * 200


# Refusals when decoding


def extension(code: int, content: bytes) -> bytes:
    packed: bytes = msgpack.packb(msgpack.ExtType(code, content))
    return packed


def array(*fields: Any) -> bytes:
    return extension(Code.ARRAY, msgpack.packb(list(fields)))


deep_sets = b"\x01"
for _ in range(5):
    deep_sets = extension(Code.SET, b"\x91" + deep_sets)

LIES = {
    "nothing": b"",
    "trailing": b"\xc0\xc0",
    "list of four billion": b"\xdd\xff\xff\xff\xff",
    "map of four billion": b"\xdf\xff\xff\xff\xff",
    "lists that announce each other's bytes": b"\xdd\x00\x00\x10\x00" * 400 + bytes(0x1000),
    "too deep": b"\x91" * 5000 + b"\xc0",
    "bad text": b"\xa1\xff",
    "unhashable key": b"\x81\x80\xc0",
    "unknown extension": extension(99, b""),
    "timestamp out of range": extension(-1 & 0x7F, bytes(12)),
    "datetime too short": extension(1, bytes(7)),
    "datetime out of range": extension(1, b"\xff" * 7 + b"\x7f"),
    "datetime offset of two days": extension(1, struct.pack("<qq", 0, 172_800_000_000)),
    "date zero": extension(2, bytes(4)),
    "time of 25 hours": extension(3, struct.pack("<q", 90_000_000_000)),
    "time before midnight": extension(3, struct.pack("<q", -1)),
    "timedelta too short": extension(4, b""),
    "timedelta out of range": extension(4, struct.pack("<iii", 2**31 - 1, 0, 0)),
    "uuid of 15 bytes": extension(5, bytes(15)),
    "decimal of letters": extension(6, b"pi"),
    "decimal of a million digits": extension(6, b"1" * 1_000_000),
    "int of a million bytes": extension(7, b"\x01" * 1_000_000),
    "set of lists in lists": extension(8, b"\x91\x81\xc0\xc0"),
    "set that is no array": extension(8, b"\xc0"),
    "set cut short": extension(8, b"\x95\xc0"),
    "set that announces too much": extension(8, b"\xdd\xff\xff\xff\xff"),
    "sets five deep": deep_sets,
    "array of objects": array("|O", [1], "C", bytes(8)),
    "array of structures": array("i4,O", [1], "C", bytes(12)),
    "array of evaluated text": array("__import__('os')", [1], "C", b"x"),
    "array without a dtype": array(None, [1], "C", bytes(8)),
    "array of nothing wide": array("|S0", [2**40], "C", b""),
    "array that is too short": array("<f8", [2], "C", bytes(15)),
    "array of negative length": array("<f8", [-1, -1], "C", bytes(8)),
    "array of overflowing shape": array("<f8", [2**63, 2**63, 0, 2**63], "C", b""),
    "array of 65 dimensions": array("<f8", [1] * 65, "C", bytes(8)),
    "array of float dimensions": array("<f8", [1.0], "C", bytes(8)),
    "array whose shape is text": array("|S1", "a", "C", b"x"),
    "array in Z order": array("<f8", [1], "Z", bytes(8)),
    "array in a list's order": array("<f8", [1], [], bytes(8)),
    "array in no attachment": array("<f8", [1], "C", 7),
    "array in a negative attachment": array("<f8", [1], "C", -1),
    "array in attachment true": array("<f8", [1], "C", True),
    "array of three fields": array("<f8", [1], "C"),
    "array that is a number": extension(Code.ARRAY, b"\x01"),
    "scalar too long": extension(Code.SCALAR, msgpack.packb(["<f4", bytes(5)])),
    "scalar of text": extension(Code.SCALAR, msgpack.packb(["<f4", "abcd"])),
    "tensor of an unknown type": extension(Code.TENSOR, msgpack.packb(["qint8", [1], "C", b"x"])),
    "blob without a number": extension(Code.BLOB, b""),
    "blob in no attachment": extension(Code.BLOB, b"\x05"),
    "blob used twice": b"\x92" + extension(Code.BLOB, b"\x00") * 2,
    "reference of one byte": extension(Code.REFERENCE, b"\x00"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lying_body_is_refused(lie: str) -> None:
    with pytest.raises(BadFrameError):
        decode(LIES[lie], [b"attached"])


@given(st.binary(max_size=200), st.lists(st.binary(max_size=8), max_size=2))
def test_noise_ends_in_a_value_or_a_bad_frame(noise: bytes, attachments: list[bytes]) -> None:
    for read in (lambda: decode(noise, attachments, make_ref=Ref), lambda: decode_plain(noise)):
        with suppress(BadFrameError):
            read()


@given(values, st.data())
def test_a_damaged_body_ends_in_a_value_or_a_bad_frame(value: Any, data: st.DataObject) -> None:
    damaged = bytearray(encode(value).data)
    damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with suppress(BadFrameError):
        decode(bytes(damaged))


def test_a_body_as_deep_as_allowed_is_read() -> None:
    value: Any = 1
    for _ in range(510):
        value = [value]

    assert roundtrip(value) == value


# Plain bodies


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.binary(),
        lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    )
)
def test_a_plain_body_arrives_as_it_was_sent(value: Any) -> None:
    assert decode_plain(encode_plain(value)) == value
    assert encode(value) == Body(encode_plain(value))


@pytest.mark.parametrize("value", [object(), {1, 2}, 2**64, "\ud800", dt.date(1, 1, 1)])
def test_only_plain_values_are_plain(value: Any) -> None:
    with pytest.raises(NotEncodableError, match="plain body"):
        encode_plain(value)


@pytest.mark.parametrize("data", [extension(1, bytes(8)), b"\x81\x01\x02", b"", b"\xc1"])
def test_a_plain_body_has_no_extensions_and_no_keys_but_text(data: bytes) -> None:
    with pytest.raises(BadFrameError):
        decode_plain(data)


# Digests


def test_a_digest_depends_on_every_part_of_the_call() -> None:
    body = encode(["m", [1], {}]).data
    calls = [
        (1, body),
        (2, body),
        (1, body + b" "),
        (1, body, [b"part"]),
        (1, body, [b"par", b"t"]),
        (1, body, [b"part", b""]),
        (1, body, [], {"priority": 1}),
        (1, body, [], {"priority": 2}),
    ]

    digests = {call_digest(*call) for call in calls} | {call_digest(1, body, refs=[5])}

    assert len(digests) == len(calls) + 1
    assert {len(digest) for digest in digests} == {16}


def test_the_order_of_options_does_not_matter() -> None:
    assert call_digest(1, b"", (), {"a": 1, "b": 2}) == call_digest(1, b"", (), {"b": 2, "a": 1})


_DIGEST = """
from ipc.payload import call_digest, encode
body = encode(["m", [{"b", "a", "c", ("x", 1)}, {"k": frozenset("abcdef")}], {}])
print(call_digest(7, body.data, [b"part"], {"priority": 1}, refs=[3]).hex())
"""


def test_digests_are_equal_in_processes_with_other_hash_seeds() -> None:
    outputs = {
        subprocess.run(
            [sys.executable, "-c", _DIGEST],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(filter(None, sys.path)) or "."},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }

    assert len(outputs) == 1
    assert len(outputs.pop()) == 33
