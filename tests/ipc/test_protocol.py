"""ipc/protocol.py: kinds, flags and roles are ABI; every kind is told in the head."""

import re
from pathlib import Path

from ipc import protocol
from ipc.protocol import EFFECTS, UNNUMBERED, WATCH_OPERATIONS, Flag, Kind, call_body

FLAGS = {name: value for name, value in vars(Flag).items() if name.isupper()}
LIST = Path(__file__).parent / "golden" / "protocol_codes.txt"


def test_kinds_and_flags_are_those_of_the_checked_in_list() -> None:
    kinds = [f"kind {kind.value} {kind.name}" for kind in Kind]
    flags = [f"flag {value} {name}" for name, value in FLAGS.items()]

    assert [*kinds, *flags] == LIST.read_text().splitlines()


def test_kinds_fit_a_byte_and_flags_are_single_bits_of_two() -> None:
    assert all(0 < kind < 256 for kind in Kind)
    assert all(value.bit_count() == 1 and value < 1 << 16 for value in FLAGS.values())
    assert len(set(FLAGS.values())) == len(FLAGS)


def test_every_kind_is_told_in_the_head() -> None:
    head = protocol.__doc__ or ""

    assert [kind.name for kind in Kind if not re.search(rf"\b{kind.name}\b", head)] == []


def test_effects_are_numbered() -> None:
    assert not EFFECTS & UNNUMBERED


def test_watch_operations_show_their_own_body() -> None:
    assert all(text.startswith(f'["{name}"') for name, text in WATCH_OPERATIONS.items())


def test_a_call_body_is_method_arguments_and_keywords() -> None:
    assert call_body("solve", (1, 2), {"k": 3}) == ["solve", [1, 2], {"k": 3}]


def test_the_kernels_own_methods_cannot_be_handlers() -> None:
    names = (protocol.ON_START, protocol.ON_CHILD_EXIT, protocol.ON_DOWN)

    assert not any(name.isidentifier() for name in names)
