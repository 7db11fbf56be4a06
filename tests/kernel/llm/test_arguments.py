"""kernel/llm/arguments.py: what is wrong with a call is said by name, before anything is queued."""

from typing import Any

import pytest

from ipc.errors import BadModelError, BadPromptError, SamplingError, UnknownCallError
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
        {"name": "a", "path": "/m", "engines": 65},
        {"name": "a", "path": "/m", "kv_bytes": -1},
        {"name": "a", "endpoint": "host:8000/v1"},
        {"name": "a", "endpoint": "http://x", "dtype": "float16"},
        {"name": "a", "path": "/m", "concurrency": 3},
    ],
)
def test_a_model_spec_that_cannot_be_meant_is_refused(spec: dict[str, Any]) -> None:
    with pytest.raises(BadModelError):
        read_model_spec(spec)


def test_an_option_that_no_model_has_is_refused_by_name() -> None:
    with pytest.raises(UnknownCallError, match="colour"):
        read_model_spec({"name": "a", "path": "/m", "colour": "red"})


def test_an_engine_of_ones_own_may_have_the_options_of_any_kind() -> None:
    spec = {"name": "a", "driver": "m:C", "concurrency": 3, "dtype": "float16"}

    assert read_model_spec(spec) == spec


@pytest.mark.parametrize("url", ["https://me:sesame@host/v1", "https://host/v1?key=sesame"])
def test_a_url_with_a_key_is_refused_before_it_is_journaled_and_not_shown(url: str) -> None:
    with pytest.raises(BadModelError) as refused:
        read_model_spec({"name": "a", "endpoint": url})

    assert "sesame" not in str(refused.value)
