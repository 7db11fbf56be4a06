"""Tokens to text: characters stay whole, stop strings cut, what is streamed is what is said."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from hypothesis import given, settings
from hypothesis import strategies as st

from actors.torch_engine.detokeniser import Detokeniser, decoder_of
from actors.torch_engine.stop_strings import find_stop, num_shown
from actors.torch_engine.tool_calls import parse_tool_calls
from tests.torch_engine.tokenizers_made import byte_fallback, byte_level
from tests.trials import trials

KINDS = {"byte level": byte_level, "byte fallback": byte_fallback}
texts = st.text(st.sampled_from('aé狐🦊👩‍👧 \n{"x":1}ß語'), min_size=1, max_size=24)


def pieces_of(tokenizer: Any, ids: list[int]) -> list[str]:
    detokeniser = Detokeniser(decoder_of(tokenizer))
    return [*(detokeniser.push(token) for token in ids), detokeniser.flush()]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=trials(80), deadline=None)
@given(text=texts)
def test_pieces_join_to_the_text_and_none_splits_a_character(kind: str, text: str) -> None:
    tokenizer = KINDS[kind]()
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]

    pieces = pieces_of(tokenizer, ids)

    assert "".join(pieces) == tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    assert not any("�" in piece for piece in pieces)


@pytest.mark.parametrize("kind", KINDS)
def test_a_character_that_is_never_finished_is_shown_at_the_end(kind: str) -> None:
    tokenizer = KINDS[kind]()
    ids = tokenizer("a狐", add_special_tokens=False)["input_ids"][:-1]

    pieces = pieces_of(tokenizer, ids)

    assert "".join(pieces[:-1]).strip() == "a"
    assert set(pieces[-1]) == {"�"}


def test_bytes_that_are_no_text_are_not_held_back_for_ever() -> None:
    tokenizer = byte_fallback()
    stray = tokenizer.convert_tokens_to_ids("<0x80>")
    detokeniser = Detokeniser(decoder_of(tokenizer))

    pieces = [detokeniser.push(stray) for _ in range(40)]

    assert any(pieces)


def test_special_tokens_are_no_text() -> None:
    tokenizer = byte_level()
    ids = [tokenizer.eos_token_id, *tokenizer("ab", add_special_tokens=False)["input_ids"]]

    assert "".join(pieces_of(tokenizer, ids)) == "ab"


@settings(max_examples=trials(200), deadline=None)
@given(
    text=st.text("ab", max_size=20),
    stops=st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3),
)
def test_the_first_stop_string_cuts_and_nothing_of_it_was_shown(
    text: str, stops: list[str]
) -> None:
    grown, shown, cut = "", 0, None
    for letter in text:
        cut = find_stop(grown + letter, stops, len(grown))
        grown += letter
        if cut is not None:
            break
        shown = num_shown(grown, stops)

    first = min((at for stop in stops if (at := grown.find(stop)) >= 0), default=None)
    assert cut == first
    assert shown <= (len(grown) if cut is None else cut)


ARGUMENTS = '{"city": "Rome"}'
CALL = '{"name": "weather", "arguments": {"city": "Rome"}}'


@pytest.mark.parametrize(
    "text",
    [
        f"<tool_call>\n{CALL}\n</tool_call>",
        f"Let me look. <tool_call>{CALL}</tool_call>",
        CALL,
        '<|python_tag|>{"name": "weather", "parameters": {"city": "Rome"}}',
        f"[TOOL_CALLS][{CALL}]",
        json.dumps({"type": "function", "function": {"name": "weather", "arguments": ARGUMENTS}}),
    ],
)
def test_a_call_of_a_tool_is_read_in_each_form(text: str) -> None:
    calls = parse_tool_calls(text, 5)

    assert calls == [{"id": "call_5_0", "name": "weather", "arguments": {"city": "Rome"}}]


def test_several_calls_are_numbered() -> None:
    calls = parse_tool_calls(f"<tool_call>{CALL}</tool_call>\n<tool_call>{CALL}</tool_call>", 1)

    assert [call["id"] for call in calls] == ["call_1_0", "call_1_1"]
    assert len(parse_tool_calls(f"{CALL}; {CALL}", 1)) == 2


@pytest.mark.parametrize(
    "text",
    ["", "hello", '{"x": 1}', "[1, 2]", "<tool_call>{broken</tool_call>", f"{CALL} and more"],
)
def test_what_is_no_call_is_text(text: str) -> None:
    assert parse_tool_calls(text, 1) == []
