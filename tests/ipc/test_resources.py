"""ipc/resources.py: amounts as people write them."""

import pytest

from ipc.errors import BadResourceError
from ipc.resources import parse_amount, parse_amounts, show_amount


@pytest.mark.parametrize(
    ("name", "value", "amount"),
    [
        ("cpu", "1", 1000),
        ("cpu", "0.5", 500),
        ("cpu", 1.25, 1250),
        ("cpu", 2, 2000),
        ("memory", "512MiB", 512 << 20),
        ("memory", "1.5 gib", 3 << 29),
        ("memory", 1024, 1024),
        ("gpu.0", "8GiB", 8 << 30),
        ("licence", "3", 3),
    ],
)
def test_an_amount_is_read_in_the_resources_unit(name: str, value: object, amount: int) -> None:
    assert parse_amount(name, value) == amount


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cpu", "0"),
        ("cpu", "-1"),
        ("cpu", "1.2345"),
        ("cpu", "1GiB"),
        ("memory", "512MB"),
        ("memory", "lots"),
        ("memory", ""),
        ("memory", "1e9"),
        ("licence", 0.5),
        ("licence", True),
        ("memory", "9999999TiB"),
    ],
)
def test_what_is_no_amount_is_refused_with_what_to_write(name: str, value: object) -> None:
    with pytest.raises(BadResourceError, match=name):
        parse_amount(name, value)


def test_amounts_keep_their_names() -> None:
    assert parse_amounts({"cpu": 1, "memory": "1KiB"}) == {"cpu": 1000, "memory": 1024}


@pytest.mark.parametrize(
    ("name", "amount", "text"),
    [
        ("cpu", 1000, "1 CPU"),
        ("cpu", 1500, "1.5 CPUs"),
        ("memory", 1023, "1023 B"),
        ("memory", 512 << 20, "512 MiB"),
        ("gpu.0", 3 << 39, "1.5 TiB"),
        ("licence", 2048, "2048"),
    ],
)
def test_amounts_are_shown_as_people_write_them(name: str, amount: int, text: str) -> None:
    assert show_amount(name, amount) == text
