"""Arguments as people type them."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.cli.values import agent_key, parse_arguments, parse_environment, parse_value
from ipc.errors import SchemaError

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("5", 5),
        ('"5"', "5"),
        ("hello", "hello"),
        ("[1, 2]", [1, 2]),
        ("true", True),
        ("null", None),
        ("", ""),
        ("@@name", "@name"),
        ("{not json", "{not json"),
        ("[" * 5000, "[" * 5000),
    ],
)
def test_a_value_is_json_or_else_text(word: str, value: object) -> None:
    assert parse_value(word) == value


@given(JSON_VALUES)
def test_every_json_value_can_be_given(value: object) -> None:
    assert parse_value(json.dumps(value)) == value


def test_keys_and_positions_are_told_apart() -> None:
    args, kwargs = parse_arguments(["one", '"a=b"', "amount=5", "text=x=y", "n=1"])

    assert args == ["one", "a=b"]
    assert kwargs == {"amount": 5, "text": "x=y", "n": 1}


@pytest.mark.parametrize("words", [["a=1", "a=2"], ["a=1", "5"]])
def test_a_repeated_key_or_a_late_position_is_refused(words: list[str]) -> None:
    with pytest.raises(SchemaError):
        parse_arguments(words)


def test_an_at_sign_reads_a_file(tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_text("dear agent")

    assert parse_value(f"@{path}") == "dear agent"
    with pytest.raises(SchemaError, match="No such file"):
        parse_value(f"@{path}.gone")


def test_environment_words_need_a_key() -> None:
    assert parse_environment(["A=1", "B="]) == {"A": "1", "B": ""}
    with pytest.raises(SchemaError):
        parse_environment(["=1"])


def test_a_number_is_an_agents_id_and_all_else_a_name() -> None:
    assert agent_key("12") == 12
    assert agent_key("12b") == "12b"
