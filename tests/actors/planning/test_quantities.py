"""Rates and durations as they are typed."""

import pytest

from actors.planning.quantities import parse_duration, parse_rate
from ipc.errors import BadLoadError


@pytest.mark.parametrize(
    ("text", "per_second"),
    [
        ("1000/s", 1000),
        ("90/min", 1.5),
        (" 3.6e3 / h ", 1),
        ("2ms", 500),
        ("0.5 s", 2),
        (".25/ms", 250),
    ],
)
def test_a_rate_is_a_number_a_unit_or_the_time_of_one(text: str, per_second: float) -> None:
    assert parse_rate("--arrival", text) == pytest.approx(per_second)


@pytest.mark.parametrize("text", ["20ms", "0.02s", "20000us", "2e7ns"])
def test_a_duration_has_a_unit(text: str) -> None:
    assert parse_duration("--p99", text) == pytest.approx(0.02)


@pytest.mark.parametrize(
    "text", ["", "5", "-1/s", "0/s", "1/fortnight", "x/s", "1e400/s", "1e-320/s"]
)
def test_what_is_no_rate_is_refused_by_name(text: str) -> None:
    with pytest.raises(BadLoadError) as caught:
        parse_rate("--arrival", text)

    assert (caught.value.what, caught.value.value) == ("--arrival", text)
