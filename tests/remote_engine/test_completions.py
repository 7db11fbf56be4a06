"""What an honest endpoint answers becomes a completion, by both APIs, streamed and whole."""

from __future__ import annotations

import itertools

import pytest

from tests.remote_engine.rig import ServerProcess, complete

WAYS = list(itertools.product(["chat", "text"], [False, True]))
USAGE = {"prompt_tokens": 12, "cached_tokens": 4, "completion_tokens": 3}


@pytest.mark.parametrize(("api", "stream"), WAYS)
def test_text_reason_and_usage_arrive(server: ServerProcess, api: str, stream: bool) -> None:
    outcome = complete(server, "good morning", api=api, stream=stream)

    assert not outcome.failed
    assert outcome.body["text"].strip() == "good morning"
    assert outcome.body["finish_reason"] == "stop"
    assert outcome.body["usage"] == USAGE
    assert "".join(outcome.pieces) == (outcome.body["text"] if stream else "")


def test_a_request_says_what_was_asked_for(server: ServerProcess) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    sampling = {
        "max_tokens": 7,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 0,
        "repetition_penalty": 1.0,
        "stop": ["\n"],
        "seed": (1 << 64) - 1,
        "logprobs": 2,
        "schema": schema,
    }

    complete(server, "x", sampling=sampling, stream=True, spec={"remote_model": "big"})

    (body,) = server.stats().bodies
    assert body == {
        "model": "big",
        "messages": [{"role": "user", "content": "x"}],
        "max_tokens": 7,
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": ["\n"],
        "seed": (1 << 63) - 1,
        "logprobs": True,
        "top_logprobs": 2,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": schema, "strict": True},
        },
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_without_options_it_is_greedy_and_bounded(server: ServerProcess) -> None:
    complete(server, "x", api="text")

    (body,) = server.stats().bodies
    assert body == {
        "model": "far",
        "prompt": "x",
        "max_tokens": 256,
        "temperature": 0,
        "stream": False,
    }


@pytest.mark.parametrize("stream", [False, True])
def test_tool_calls_are_put_together(server: ServerProcess, stream: bool) -> None:
    tools = [{"type": "function", "function": {"name": "add", "parameters": {}}}]
    given = {"messages": [{"role": "user", "content": "tools"}], "tools": tools}

    outcome = complete(server, "", input=given, stream=stream)

    assert outcome.body["finish_reason"] == "tool_calls"
    assert outcome.body["tool_calls"] == [
        {"id": "a", "name": "add", "arguments": {"x": 1}},
        {"id": "b", "name": "now", "arguments": {}},
    ]
    assert server.stats().bodies[0]["tools"] == tools


def test_the_calls_of_an_earlier_completion_go_back_in_the_words_of_the_api(
    server: ServerProcess,
) -> None:
    messages = [
        {"role": "user", "content": "2 + 2?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "a", "name": "add", "arguments": {"x": "ü"}}],
        },
        {"role": "tool", "tool_call_id": "a", "content": "4"},
    ]

    complete(server, "", input={"messages": messages})

    assert server.stats().bodies[0]["messages"][1]["tool_calls"] == [
        {"id": "a", "type": "function", "function": {"name": "add", "arguments": '{"x":"ü"}'}}
    ]


@pytest.mark.parametrize(("api", "stream"), WAYS)
def test_logprobs_have_texts_in_place_of_ids(server: ServerProcess, api: str, stream: bool) -> None:
    outcome = complete(server, "logprobs", api=api, stream=stream, sampling={"logprobs": 2})

    assert outcome.body["logprobs"] == [
        {"id": "yes", "logprob": -0.1, "top": [["yes", -0.1], ["no", -2.5]]}
    ]


@pytest.mark.parametrize(
    ("said", "reason"),
    [('"stop"', "stop"), ('"length"', "length")],
)
@pytest.mark.parametrize("stream", [False, True])
def test_finish_reasons_are_ours(
    server: ServerProcess, said: str, reason: str, stream: bool
) -> None:
    assert complete(server, f"finish {said}", stream=stream).body["finish_reason"] == reason


def test_an_endpoint_that_does_not_say_its_usage_is_not_helped_out(server: ServerProcess) -> None:
    outcome = complete(server, "usage null")

    assert outcome.body["text"] == "usage"
    assert "usage" not in outcome.body


def test_comments_and_other_fields_of_a_stream_are_skipped(server: ServerProcess) -> None:
    assert complete(server, "comments", stream=True).body["text"] == "after comments"


def test_a_stream_may_be_cut_at_any_byte(server: ServerProcess) -> None:
    outcome = complete(server, "bytewise 你好 ünï😀 ok", stream=True)

    assert outcome.body["text"] == "你好 ünï😀 ok"


def test_what_breaks_after_the_end_of_a_completion_does_not_matter(server: ServerProcess) -> None:
    outcome = complete(server, "break_after_end", stream=True)

    assert (outcome.body["text"], outcome.body["finish_reason"]) == ("whole", "stop")
