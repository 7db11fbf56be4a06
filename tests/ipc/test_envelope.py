"""ipc/envelope.py: the byte table, golden files, and every damage a batch can take."""

import itertools
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import ipc.envelope
from ext.wire import Envelope
from ipc.envelope import decode, encode, join_refs, split_refs
from ipc.errors import BadFrameError
from ipc.protocol import Flag
from tests.ipc import golden_files
from tests.reference import envelope as reference

u64 = st.integers(0, 2**64 - 1)
sixteen = st.just(b"") | st.binary(min_size=16, max_size=16).filter(any)
entries = st.fixed_dictionaries(
    {
        "kind": st.integers(0, 255),
        "flags": st.integers(0, 2**16 - 1),
        "priority": st.integers(0, 7),
        "sender": u64,
        "receiver": u64,
        "sequence": u64,
        "acknowledged": u64,
        "message": u64,
        "turn": u64,
        "correlation": u64,
        "deadline": u64,
        "trace": sixteen,
        "digest": sixteen,
        "index": st.integers(0, 2**32 - 1),
        "payload": st.binary(max_size=80),
        "attachments": st.lists(st.binary(max_size=20), max_size=3).map(tuple),
    }
)
batches = st.lists(entries, min_size=1, max_size=5)


def to_envelope(entry: dict[str, Any]) -> Envelope:
    return Envelope(**entry)


def to_bytes(envelopes: list[Envelope]) -> list[bytes]:
    return [bytes(part) for part in encode(envelopes)]


def test_the_byte_table_is_the_layout() -> None:
    table = reference.parse_table(ipc.envelope.__doc__ or "")
    ends = [offset + size for offset, size, _ in table]

    assert {field: size for _, size, field in table} == reference.FIELDS
    assert [offset for offset, _, _ in table] == [0, *ends[:-1]]
    assert ends[-1] == reference.LAYOUT.size == ipc.envelope.HEADER_SIZE


@given(batches)
def test_a_second_implementation_from_the_table_writes_the_same_bytes(batch) -> None:
    assert to_bytes([to_envelope(entry) for entry in batch]) == reference.write_batch(batch)


@given(entries)
def test_a_second_implementation_from_the_table_reads_the_same_fields(entry) -> None:
    batch, *_ = to_bytes([to_envelope(entry)])

    fields = reference.read_header(batch[:128])

    for name in entry.keys() - {"payload", "attachments", "trace", "digest"}:
        assert fields[name] == entry[name], name
    assert fields["trace"] == (entry["trace"] or bytes(16))
    assert batch[128:] == entry["payload"]


@given(batches)
def test_a_batch_arrives_as_it_was_sent(batch) -> None:
    envelopes = [to_envelope(entry) for entry in batch]

    assert decode(to_bytes(envelopes)) == envelopes


@pytest.mark.parametrize("name", golden_files.BATCHES)
def test_golden_bytes_are_read_and_written_unchanged(name: str) -> None:
    parts = golden_files.read(name)
    envelopes = [to_envelope(entry) for entry in golden_files.BATCHES[name]]

    assert decode(parts) == envelopes
    assert to_bytes(decode(parts)) == parts
    assert to_bytes(envelopes) == parts


@given(batches, st.data())
def test_a_flipped_bit_is_noticed(batch, data: st.DataObject) -> None:
    parts = to_bytes([to_envelope(entry) for entry in batch])
    bit = data.draw(st.integers(0, 8 * len(parts[0]) - 1))
    damaged = bytearray(parts[0])
    damaged[bit // 8] ^= 1 << bit % 8

    with pytest.raises(BadFrameError):
        decode([bytes(damaged), *parts[1:]])


def envelope_ends(batch) -> list[int]:
    return list(itertools.accumulate(128 + len(entry["payload"]) for entry in batch))


@given(batches, st.data())
def test_a_part_cut_short_is_noticed(batch, data: st.DataObject) -> None:
    parts = to_bytes([to_envelope(entry) for entry in batch])
    which = data.draw(st.sampled_from([i for i, part in enumerate(parts) if part]))
    cut = data.draw(st.integers(0, len(parts[which]) - 1))
    # Cut between two envelopes it is a shorter batch: there the numbering tells (ipc/channel.py).
    assume(which or cut not in envelope_ends(batch))

    # Attachments share one sum of lengths, so a shorter one is noticed like the others.
    with pytest.raises(BadFrameError):
        decode([*parts[:which], parts[which][:cut], *parts[which + 1 :]])


@given(batches, st.data())
def test_a_missing_part_is_noticed(batch, data: st.DataObject) -> None:
    parts = to_bytes([to_envelope(entry) for entry in batch])
    del parts[data.draw(st.integers(0, len(parts) - 1))]

    with pytest.raises(BadFrameError):
        decode(parts)


@given(st.lists(st.binary(max_size=400), max_size=4))
def test_noise_is_refused(parts: list[bytes]) -> None:
    with pytest.raises(BadFrameError):
        decode(parts)


def test_a_payload_above_the_limit_is_refused() -> None:
    parts = to_bytes([Envelope(10, payload=b"x" * 101)])

    with pytest.raises(BadFrameError, match="above the limit"):
        decode(parts, max_payload=100)


def test_every_status_has_its_reason() -> None:
    assert ipc.envelope._REASONS.keys() == set(range(1, 11))


def test_attachments_are_the_very_objects_given() -> None:
    part = memoryview(bytearray(b"large"))
    envelope = Envelope(10, attachments=(part,))

    assert encode([envelope])[1] is part
    assert decode([encode([envelope])[0], part])[0].attachments[0] is part


@given(st.lists(u64, max_size=5).map(tuple), st.binary(max_size=20))
def test_a_reference_table_comes_back_apart_from_its_body(refs, body: bytes) -> None:
    envelope = Envelope(10, payload=join_refs(refs, body), flags=Flag.HAS_REFS)

    assert split_refs(envelope) == (refs, body)


def test_without_the_flag_there_is_no_reference_table() -> None:
    assert split_refs(Envelope(10, payload=b"\x01\x00")) == ((), b"\x01\x00")


@pytest.mark.parametrize("payload", [b"", b"\x01", b"\x01\x00", b"\xff\xff" + bytes(80)])
def test_a_reference_table_cut_short_is_refused(payload: bytes) -> None:
    with pytest.raises(BadFrameError, match="reference table"):
        split_refs(Envelope(10, payload=payload, flags=Flag.HAS_REFS))
