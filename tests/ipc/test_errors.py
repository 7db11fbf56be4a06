"""ipc/errors: codes are ABI, every class crosses the wire, unknown codes keep their family.

The list in golden/error_codes.txt is append-only: a new class gets a new line there; a line is
never changed or removed. The same holds for golden/protocol_codes.txt (test_protocol.py).
"""

from __future__ import annotations

import copy
import pickle
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipc import errors
from ipc.errors import BadFrameError, LLMOSError, from_wire, to_wire
from ipc.payload import decode_plain, encode_plain

LIST = Path(__file__).parent / "golden" / "error_codes.txt"
CLASSES = sorted(errors.BY_CODE.values(), key=lambda cls: cls.code)
FAMILIES = {0, 100, 150, 200, 250, 300, 400, 900}


def example(cls: type[LLMOSError]) -> LLMOSError:
    return cls(**{name: f"<{name}>" for name in cls.field_names()})


def test_codes_are_those_of_the_checked_in_list() -> None:
    listed = [line.split() for line in LIST.read_text().splitlines()]

    assert [[str(cls.code), cls.__name__] for cls in CLASSES] == listed


def test_no_two_classes_share_a_code() -> None:
    defined = [
        cls
        for cls in vars(errors).values()
        if isinstance(cls, type) and issubclass(cls, LLMOSError)
    ]

    assert len(defined) == len(errors.BY_CODE)


@pytest.mark.parametrize("cls", CLASSES)
def test_a_code_lies_in_the_family_of_its_class(cls: type[LLMOSError]) -> None:
    family = errors.family_of(cls.code)

    assert issubclass(cls, family)
    assert cls.code in FAMILIES or family.code < cls.code < family.code + 100


@pytest.mark.parametrize("cls", CLASSES)
def test_every_class_crosses_the_wire_with_its_fields(cls: type[LLMOSError]) -> None:
    error = example(cls)

    back = from_wire(decode_plain(encode_plain(to_wire(error))))

    assert type(back) is cls
    assert (back.fields, str(back)) == (error.fields, str(error))


@pytest.mark.parametrize("cls", CLASSES)
def test_fields_are_attributes_and_are_seen_in_the_text(cls: type[LLMOSError]) -> None:
    error = example(cls)

    for name, value in error.fields.items():
        assert getattr(error, name) == value
        assert value in str(error) or name in cls.extra
    with pytest.raises(AttributeError, match="no_such_field"):
        _ = error.no_such_field


@pytest.mark.parametrize("cls", CLASSES)
def test_an_error_can_be_copied_and_pickled_locally(cls: type[LLMOSError]) -> None:
    error = example(cls)

    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert (type(twin), twin.fields, str(twin)) == (cls, error.fields, str(error))


@pytest.mark.parametrize("cls", CLASSES)
def test_every_class_says_who_must_act(cls: type[LLMOSError]) -> None:
    assert cls.__doc__
    assert cls.__doc__ != LLMOSError.__doc__ or cls is LLMOSError


def test_fields_that_are_missing_or_unknown_are_a_mistake_of_ours() -> None:
    with pytest.raises(TypeError, match="takes"):
        errors.MailboxFullError(receiver=1)
    with pytest.raises(TypeError, match="takes"):
        errors.ClosedError(what="x", other=1)


@pytest.mark.parametrize(
    ("code", "family"),
    [
        (149, errors.UsageError),
        (199, errors.DeniedError),
        (249, errors.OverloadError),
        (260, errors.DeadlineError),
        (349, errors.PeerError),
        (351, errors.PeerError),
        (499, errors.CorruptionError),
        (950, errors.KernelBugError),
        (555, LLMOSError),
        (-7, LLMOSError),
        (10**30, LLMOSError),
    ],
)
def test_an_unknown_code_becomes_its_family(code: int, family: type[LLMOSError]) -> None:
    error = from_wire({"code": code, "fields": {"shard": 3}})

    assert type(error) is family
    assert str(error) == f"shard=3 (code {code})"


def test_a_known_code_with_other_fields_becomes_its_family() -> None:
    error = from_wire({"code": 201, "fields": {"reason": "full", "new": 1}})

    assert type(error) is errors.OverloadError
    assert error.reason == "full (code 201)"


@pytest.mark.parametrize(
    "wire",
    [
        None,
        [],
        "x",
        {},
        {"code": 1},
        {"code": "1", "fields": {}},
        {"code": 1, "fields": []},
        {"code": True, "fields": {}},
        {"code": None, "fields": None},
    ],
)
def test_what_is_no_error_is_a_bad_frame(wire: Any) -> None:
    with pytest.raises(BadFrameError):
        from_wire(wire)


scalars = st.none() | st.integers() | st.text(max_size=5) | st.lists(st.integers(), max_size=2)
names = st.text(max_size=5) | st.sampled_from(["reason", "what", "name"]) | st.integers()
wires = scalars | st.fixed_dictionaries(
    {"code": st.sampled_from(sorted(errors.BY_CODE)) | st.integers(0, 1000) | scalars},
    optional={"fields": st.dictionaries(names, scalars, max_size=3)},
)


@given(wires)
def test_whatever_a_peer_sends_becomes_an_error_or_a_bad_frame(wire: Any) -> None:
    with suppress(BadFrameError):
        assert isinstance(from_wire(wire), LLMOSError)


@given(scalars, st.sampled_from(CLASSES))
def test_fields_of_any_type_make_a_text(value: Any, cls: type[LLMOSError]) -> None:
    error = from_wire({"code": cls.code, "fields": dict.fromkeys(cls.field_names(), value)})

    assert type(error) is cls
    assert type(str(error)) is str


def test_only_overload_is_retryable() -> None:
    assert {cls for cls in CLASSES if cls.retryable} == {
        cls for cls in CLASSES if issubclass(cls, errors.OverloadError)
    }


def test_a_timeout_is_a_builtin_timeout_too() -> None:
    assert issubclass(errors.AskTimeoutError, TimeoutError)


def test_a_remote_error_shows_the_remote_traceback() -> None:
    error = errors.RemoteError(
        type_name="ValueError", actor="A", handler="h", message="m", traceback="Traceback: there"
    )

    assert str(error) == "ValueError in A.h: m\n\n--- remote traceback ---\nTraceback: there"


def test_an_error_can_be_sent_whatever_its_fields_hold() -> None:
    held = ["\udcff", 1 << 70, {"a": (None, 1.5)}, object()]

    error = from_wire(decode_plain(encode_plain(to_wire(errors.UsageError(reason=held)))))

    assert error.fields["reason"] == ["\\udcff", str(1 << 70), {"a": [None, 1.5]}, "<object>"]
