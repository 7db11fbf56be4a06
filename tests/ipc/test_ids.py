"""ipc/ids.py: who is who by the bits of an id."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipc.ids import COUNTER_MASK, is_session, make_id, new_session_id, short

nodes = st.integers(0, 2**15 - 1)
counters = st.integers(1, COUNTER_MASK)


@given(nodes, counters, nodes, counters)
def test_ids_of_different_things_differ(node: int, counter: int, node2: int, counter2: int) -> None:
    same = (node, counter) == (node2, counter2)

    assert (make_id(node, counter) == make_id(node2, counter2)) == same


@given(nodes, counters)
def test_an_id_is_never_the_kernels_and_never_a_session(node: int, counter: int) -> None:
    identifier = make_id(node, counter)

    assert 0 < identifier < 2**63
    assert not is_session(identifier)


@pytest.mark.parametrize(("node", "counter"), [(-1, 1), (2**15, 1), (0, 0), (0, 2**48), (0, -1)])
def test_what_does_not_fit_an_id_is_refused(node: int, counter: int) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        make_id(node, counter)


@given(st.integers(0, 2**32))
def test_a_session_id_is_made_by_the_source_given(seed: int) -> None:
    identifier = new_session_id(random.Random(seed))

    assert identifier == new_session_id(random.Random(seed))
    assert is_session(identifier)
    assert identifier < 2**64


def test_people_read_short_ids() -> None:
    assert short(make_id(0, 17)) == "17"
    assert short(make_id(3, 17)) == "3.17"
    assert short(1 << 63 | 0xAB) == "session-0000ab"
