"""ext/wire.pyx: status codes, limits, checksums; the format itself is in tests/ipc."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext.wire import (
    HEADER_SIZE,
    Envelope,
    checksum,
    digest64,
    pack,
    pack_parts,
    unpack,
    unpack_parts,
)
from tests.reference.envelope import xxh64

LIMIT = 1 << 20
OK, BAD_LENGTH, BAD_MAGIC, BAD_VERSION, BAD_HEADER_CHECKSUM = 0, 1, 2, 3, 4
NO_PARTS = 10
TOO_LONG, PAYLOAD_MISMATCH, BAD_PAYLOAD_CHECKSUM, ATTACHMENT_MISMATCH, BAD_FIELD = 5, 6, 7, 8, 9


def sealed(header: bytes) -> bytes:
    """Return the header with a checksum that fits, as a hostile peer would write it."""
    return header[:124] + checksum(header[:124]).to_bytes(4, "little")


def altered(batch: bytes, offset: int, value: bytes) -> bytes:
    header = batch[:offset] + value + batch[offset + len(value) : 128]
    return sealed(header) + batch[128:]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", 0xEF46DB3751D8E999),
        (b"a", 0xD24EC4F1A98C6E5B),
        (b"abc", 0x44BC2CF5AD770999),
        (bytes(range(101)), xxh64(bytes(range(101)))),
    ],
)
def test_the_checksum_is_published_xxh64(data: bytes, expected: int) -> None:
    assert digest64(data) == xxh64(data) == expected
    assert checksum(data) == expected & 0xFFFFFFFF


@given(st.binary(max_size=300))
def test_the_checksum_equals_the_reference_at_every_length(data: bytes) -> None:
    assert digest64(data) == xxh64(data)


def test_a_header_is_128_bytes() -> None:
    assert HEADER_SIZE == 128
    assert len(pack([Envelope(10)])) == 128


@pytest.mark.parametrize(
    ("offset", "value", "status"),
    [
        (0, b"\x00", BAD_MAGIC),
        (2, b"\x02", BAD_VERSION),
        (6, b"\x08", BAD_FIELD),
        (7, b"\x01", ATTACHMENT_MISMATCH),
        (108, b"\xff\xff\xff\xff", TOO_LONG),
        (108, b"\x04\x00\x00\x00", PAYLOAD_MISMATCH),
        (108, b"\x02\x00\x00\x00", BAD_PAYLOAD_CHECKSUM),
        (112, b"\x01", ATTACHMENT_MISMATCH),
        (112, b"\xff" * 8, ATTACHMENT_MISMATCH),
        (120, b"\x00\x00\x00\x00", BAD_PAYLOAD_CHECKSUM),
    ],
)
def test_a_lying_header_gets_its_status(offset: int, value: bytes, status: int) -> None:
    batch = pack([Envelope(10, payload=b"abc")])

    assert unpack(altered(batch, offset, value), [], LIMIT) == (status, [])


@pytest.mark.parametrize("length", [0, 1, 127, 129, 255])
def test_a_header_that_is_cut_short_is_refused(length: int) -> None:
    whole = pack([Envelope(10)])

    assert unpack((whole * 2)[:length], [], LIMIT) == (BAD_LENGTH, [])


def test_a_header_without_its_checksum_is_refused() -> None:
    batch = pack([Envelope(10)])

    assert unpack(batch[:124] + b"\x00" * 4, [], LIMIT) == (BAD_HEADER_CHECKSUM, [])


def test_bytes_after_the_last_payload_are_refused() -> None:
    batch = pack([Envelope(10, payload=b"abc")])

    assert unpack(batch + b"d", [], LIMIT) == (BAD_LENGTH, [])


def test_parts_after_the_last_attachment_are_refused() -> None:
    batch = pack([Envelope(10)])

    assert unpack(batch, [b"stray"], LIMIT) == (ATTACHMENT_MISMATCH, [])


def test_one_bad_envelope_spoils_its_whole_batch() -> None:
    batch = pack([Envelope(10), Envelope(11)])
    broken = batch[:128] + altered(batch[128:], 0, b"\x00")

    assert unpack(broken, [], LIMIT) == (BAD_MAGIC, [])


def test_the_payload_limit_is_the_callers() -> None:
    batch = pack([Envelope(10, payload=b"abc")])

    assert unpack(batch, [], 2) == (TOO_LONG, [])
    assert unpack(batch, [], 3)[0] == OK


def test_fields_the_header_cannot_hold_are_refused() -> None:
    for envelope in (
        Envelope(10, priority=8),
        Envelope(10, trace=b"short"),
        Envelope(10, digest=b"x" * 17),
        Envelope(10, attachments=(b"",) * 256),
    ):
        with pytest.raises(ValueError, match=r"priority|trace|attachments"):
            pack([envelope])
    with pytest.raises(OverflowError):
        Envelope(256)
    with pytest.raises(TypeError):
        pack([None])  # type: ignore[list-item]


def test_none_never_takes_the_place_of_bytes() -> None:
    envelope = Envelope(10)
    for field in ("payload", "attachments"):
        with pytest.raises(TypeError):
            setattr(envelope, field, None)
    envelope.trace = None  # type: ignore[assignment]

    with pytest.raises(ValueError, match="trace"):
        pack([envelope])


def test_a_forwarded_payload_is_not_hashed_again_but_another_payload_is() -> None:
    batch = pack([Envelope(10, payload=b"abc")])
    envelope = unpack(batch, [], LIMIT)[1][0]
    assert envelope.payload_checksum == checksum(b"abc")

    envelope.payload = b"other"

    assert unpack(pack([envelope]), [], LIMIT)[1][0].payload == b"other"


def test_a_copy_shares_the_payload_and_nothing_else() -> None:
    envelope = Envelope(10, 1, 2, b"abc", attachments=(b"part",), trace=b"t" * 16, sequence=4)

    twin = envelope.copy()

    assert twin == envelope
    assert twin.payload is envelope.payload
    twin.sequence = 5
    assert (envelope.sequence, twin == envelope) == (4, False)


def test_size_counts_header_payload_and_attachments() -> None:
    assert Envelope(10).size == 128
    assert Envelope(10, payload=b"abc", attachments=(b"12", memoryview(b"3456"))).size == 137


def test_an_envelope_is_compared_by_value_and_cannot_be_hashed() -> None:
    assert Envelope(10, payload=b"a") == Envelope(10, payload=b"a")
    assert Envelope(10) != Envelope(11)
    assert Envelope(10) != "an envelope"
    with pytest.raises(TypeError):
        hash(Envelope(10))


def test_what_an_envelope_prints_holds_no_payload() -> None:
    assert "secret" not in repr(Envelope(10, payload=b"secret"))


def test_a_message_is_its_batch_and_then_the_attachments_in_order() -> None:
    first, second = bytearray(b"first"), memoryview(b"second")
    envelopes = [Envelope(10), Envelope(11, attachments=(first, second)), Envelope(12)]

    parts = pack_parts(envelopes)

    assert parts[0] == pack(envelopes)
    assert parts[1] is first
    assert parts[2] is second
    for sequence in (parts, tuple(parts), [memoryview(parts[0]), first, second]):
        assert unpack_parts(sequence, LIMIT) == (OK, envelopes)


def test_a_message_of_no_parts_has_a_status_of_its_own() -> None:
    assert unpack_parts([], LIMIT) == (NO_PARTS, [])
    assert unpack_parts([b""], LIMIT) == (BAD_LENGTH, [])
