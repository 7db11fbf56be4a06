"""Options of LLM calls: what is taken, and what is refused before anything is sent."""

from __future__ import annotations

from typing import Any

import pytest

from actors.llm.options import prepare
from actors.llm.structure import read_structure
from ipc.errors import SamplingError, UsageError


def test_options_are_sorted_by_where_they_travel() -> None:
    prepared = prepare(
        {
            "model": "small@2",
            "priority": 1,
            "deadline": 2.5,
            "on_doubt": "retry",
            "max_tokens": 8,
            "temperature": 1,
            "top_p": 0.9,
            "stop": "\n",
            "seed": None,
        }
    )

    assert prepared.request == {
        "model": "small@2",
        "on_doubt": "retry",
        "sampling": {"max_tokens": 8, "temperature": 1.0, "top_p": 0.9, "stop": ["\n"]},
    }
    assert (prepared.message.priority, prepared.message.deadline) == (1, 2.5)


def test_no_options_send_nothing() -> None:
    assert prepare({"max_tokens": None}).request == {}


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("max_tokens", 0),
        ("max_tokens", True),
        ("max_tokens", "8"),
        ("temperature", -0.1),
        ("temperature", float("nan")),
        ("temperature", float("inf")),
        ("top_k", -1),
        ("top_p", 0),
        ("top_p", 1.1),
        ("min_p", 1),
        ("repetition_penalty", 0),
        ("stop", ""),
        ("stop", ["a", ""]),
        ("stop", 3),
        ("stop_ids", [-1]),
        ("stop_ids", 3),
        ("ignore_stop_ids", 1),
        ("seed", 1 << 63),
        ("logprobs", -1),
        ("regex", ""),
        ("model", ""),
        ("on_doubt", "ignore"),
    ],
)
def test_a_value_out_of_range_is_refused_by_the_options_name(option: str, value: Any) -> None:
    with pytest.raises(SamplingError) as caught:
        prepare({"temperature": 1.0, option: value})

    assert caught.value.option == option


@pytest.mark.parametrize("option", ["top_k", "top_p", "min_p"])
def test_an_option_without_effect_is_refused(option: str) -> None:
    with pytest.raises(SamplingError, match="no effect without a temperature"):
        prepare({option: 0.5 if option != "top_k" else 5})

    assert prepare({"top_k": 0, "top_p": 1.0, "min_p": 0.0}).request["sampling"]["top_p"] == 1.0


@pytest.mark.parametrize(
    "options",
    [
        {"ignore_stop_ids": True, "regex": "a+"},
        {"ignore_stop_ids": True, "stop_ids": [3]},
    ],
)
def test_options_that_contradict_each_other_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(SamplingError):
        prepare(options)


def test_a_text_keeps_to_a_schema_or_to_a_regex() -> None:
    structure = read_structure({"type": "object"})

    assert prepare({}, structure).request["sampling"]["schema"] == {"type": "object"}
    with pytest.raises(SamplingError, match="schema already"):
        prepare({"regex": "a+"}, structure)


def test_an_unknown_option_is_refused_with_the_nearest_there_is() -> None:
    with pytest.raises(SamplingError, match="did you mean temperature"):
        prepare({"temprature": 1.0})


def test_priority_and_deadline_keep_to_the_limits_of_messages() -> None:
    with pytest.raises(UsageError, match="priority"):
        prepare({"priority": 8})
    with pytest.raises(UsageError, match="deadline"):
        prepare({"deadline": 0})
