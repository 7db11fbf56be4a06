"""kernel/llm/arguments.py: what is wrong with a call is said by name, before anything is queued."""

from typing import Any

import pytest

from ipc.errors import BadPromptError, SamplingError, UnknownCallError
from kernel.llm.arguments import read_input, read_model_spec, read_request

PROMPT = {"prompt": "Hello"}


def test_a_request_without_options_is_greedy_and_bounded() -> None:
    request = read_request({"input": PROMPT})

    assert request["sampling"] == {"max_tokens": 256}


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"prompt": ""},
        {"messages": []},
        {"ids": b""},
        {"ids": b"abc"},
        {"prompt": "x", "ids": b"abcd"},
        {"prompt": "x", "tools": [{}]},
        {"messages": [{"content": "no role"}]},
    ],
)
def test_an_input_says_exactly_one_thing(given: dict[str, Any]) -> None:
    with pytest.raises(BadPromptError):
        read_input(given)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("max_tokens", 0),
        ("temperature", -0.1),
        ("temperature", float("nan")),
        ("top_p", 0.0),
        ("top_p", 1.5),
        ("min_p", 1.0),
        ("top_k", -1),
        ("repetition_penalty", 0.0),
        ("seed", -1),
        ("logprobs", 21),
        ("stop", [""]),
        ("stop", ["x"] * 65),
        ("top_k", "many"),
        ("temprature", 1.0),
    ],
)
def test_an_option_that_is_out_of_range_is_named(option: str, value: Any) -> None:
    with pytest.raises(SamplingError) as caught:
        read_request({"input": PROMPT, "sampling": {option: value}})

    assert caught.value.option == option


@pytest.mark.parametrize(
    "sampling",
    [{"schema": {}, "regex": "a"}, {"regex": "a", "ignore_stop_ids": True}],
)
def test_contradictory_options_are_refused(sampling: dict[str, Any]) -> None:
    with pytest.raises(SamplingError):
        read_request({"input": PROMPT, "sampling": sampling})


def test_an_unknown_argument_is_refused_by_name() -> None:
    with pytest.raises(UnknownCallError, match="modle"):
        read_request({"input": PROMPT, "modle": "x"})


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "", "path": "/m"},
        {"name": "a@1", "path": "/m"},
        {"name": "a"},
        {"name": "a", "path": "/m", "endpoint": "http://x"},
        {"name": "a", "endpoint": "ftp://x"},
        {"name": "a", "endpoint": "http://x", "key_env": "A", "key_file": "/b"},
        {"name": "a", "path": "/m", "engines": 0},
        {"name": "a", "path": "/m", "kv_bytes": -1},
        {"name": "a", "path": "/m", "colour": "red"},
    ],
)
def test_a_model_spec_that_cannot_be_meant_is_refused(spec: dict[str, Any]) -> None:
    with pytest.raises(UnknownCallError):
        read_model_spec(spec)
