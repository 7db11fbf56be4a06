"""What each failure proves: unstarted (it may be tried again), final, or in doubt."""

from __future__ import annotations

import json
import socket
from email.utils import formatdate
from typing import Any

import pytest

from actors.remote_engine.failure import read_retry_after
from ipc.errors import DeadlineError, EndpointError
from tests.remote_engine.rig import Outcome, Rig, ServerProcess, complete, drive

STREAMED = pytest.mark.parametrize("stream", [False, True])


def check(outcome: Outcome, proof: str, status: int, said: str = "") -> None:
    error = outcome.error
    assert isinstance(error, EndpointError)
    assert (outcome.proof, error.status) == (proof, status), error
    assert said in error.problem


def test_no_connection_proves_that_nothing_was_generated() -> None:
    with socket.socket() as taken:  # bound and not listening: nobody else can be there
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"

        async def scenario(rig: Rig) -> Outcome:
            rig.call(1, "x")
            return await rig.done(1)

        outcome = drive({"name": "far", "endpoint": url}, scenario)

    check(outcome, "unstarted", 0, "no connection")


@STREAMED
def test_429_and_503_prove_it_too_and_may_say_when_to_come_back(
    server: ServerProcess, stream: bool
) -> None:
    for status in (429, 503):
        outcome = complete(server, f"refuse 9 {status} 1.5", stream=stream)
        check(outcome, "unstarted", status, "come back")
        assert outcome.body["retry_after_s"] == 1.5
        outcome = complete(server, f"refuse 9 {status}", stream=stream)
        check(outcome, "unstarted", status)
        assert "retry_after_s" not in outcome.body


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        (" 0 ", 0.0),
        (formatdate(1030, usegmt=True), 30.0),
        (formatdate(900, usegmt=True), 0.0),
        ("Fri, 31 Dec 99999 23:59:59 GMT", None),
        ("-5", None),
        ("1e9", None),
        ("nan", None),
        ("soon", None),
        ("9" * 400, None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_seconds_or_a_date_or_nothing(header: str, seconds: float | None) -> None:
    assert read_retry_after(header, 1000.0) == seconds


@STREAMED
@pytest.mark.parametrize("status", [400, 403, 404, 413, 422])
def test_other_refusals_are_final(server: ServerProcess, status: int, stream: bool) -> None:
    outcome = complete(server, f"status {status} too many tokens", stream=stream)

    check(outcome, "final", status, "" if status == 403 else "too many tokens")


@STREAMED
@pytest.mark.parametrize("status", [408, 500, 502, 504, 529])
def test_failures_of_the_server_leave_doubt(
    server: ServerProcess, status: int, stream: bool
) -> None:
    check(complete(server, f"status {status} oh", stream=stream), "in doubt", status, "oh")


def test_a_redirect_is_not_followed(server: ServerProcess) -> None:
    check(complete(server, "redirect"), "final", 307, "redirects")

    assert server.stats().requests == 1


@STREAMED
def test_a_connection_that_ends_without_an_answer_leaves_doubt(
    server: ServerProcess, stream: bool
) -> None:
    check(complete(server, "drop", stream=stream), "in doubt", 0)


def test_a_broken_stream_leaves_doubt_and_what_came_was_shown(server: ServerProcess) -> None:
    outcome = complete(server, "break 2", stream=True)

    check(outcome, "in doubt", 200)
    assert "".join(outcome.pieces) == "piece0 piece1 "


def test_a_broken_answer_leaves_doubt(server: ServerProcess) -> None:
    check(complete(server, "break 0"), "in doubt", 200)


def test_a_stream_that_ends_before_the_completion_leaves_doubt(server: ServerProcess) -> None:
    check(complete(server, "quit_early", stream=True), "in doubt", 200, "before the completion")


def test_an_error_within_a_stream_leaves_doubt(server: ServerProcess) -> None:
    event = json.dumps({"error": {"message": "gone"}}, separators=(",", ":"))

    check(complete(server, f"raw {event}", stream=True), "in doubt", 200, "gone")


@pytest.mark.slow
@pytest.mark.parametrize(("when", "status"), [("before", 0), ("within", 200)])
def test_silence_leaves_doubt(server: ServerProcess, when: str, status: int) -> None:
    outcome = complete(server, f"silence {when}", stream=True, spec={"timeout_s": 0.3})

    check(outcome, "in doubt", status, "silent for 0.3 s")


@pytest.mark.slow
def test_a_slow_start_is_no_failure(server: ServerProcess) -> None:
    assert complete(server, "slow 0.5", spec={"timeout_s": 5.0}).body["text"] == "slow"


@pytest.mark.slow
def test_the_deadline_ends_a_call_that_would_still_be_allowed_to_be_silent(
    server: ServerProcess,
) -> None:
    outcome = complete(server, "silence before", remaining_ns=200_000_000)

    assert isinstance(outcome.error, DeadlineError)
    assert outcome.proof == "final"


LIES: dict[str, tuple[str, Any]] = {
    "no JSON": ("raw {nope", "JSON"),
    "no object": ("raw [1]", "no object"),
    "no choices": ('raw {"choices":[]}', ""),
    "choices of a wrong type": ('raw {"choices":7}', "choices"),
    "a choice of a wrong type": ('raw {"choices":[7]}', "choice"),
    "two choices": ('raw {"choices":[{"index":1}]}', "second choice"),
    "text of a wrong type": (
        'raw {"choices":[{"message":{"content":7},"delta":{"content":7}}]}',
        "content",
    ),
    "half a character": (
        'raw {"choices":[{"message":{"content":"\\ud800"},"delta":{"content":"\\ud800"}}]}',
        "half a character",
    ),
    "deep nesting": ("raw " + "[" * 100_000, "JSON"),
    "NaN": ('raw {"choices":NaN}', "JSON"),
    "an unknown reason": ('finish "because"', "because"),
    "a reason of a wrong type": ("finish [1]", "finish reason"),
    "tools without calls": ('finish "tool_calls"', "names none"),
    "a filtered completion": ('finish "content_filter"', "filter"),
    "negative usage": ('usage {"prompt_tokens":-1,"completion_tokens":1}', "prompt_tokens"),
    "usage of a wrong type": ('usage {"prompt_tokens":1,"completion_tokens":true}', "completion"),
    "half a usage": ('usage {"prompt_tokens":1}', "completion_tokens"),
    "usage beyond belief": ('usage {"prompt_tokens":1e9,"completion_tokens":1}', "prompt"),
    "usage as text": ('usage "3"', "usage"),
    "more cached than there is": (
        'usage {"prompt_tokens":1,"completion_tokens":1,'
        '"prompt_tokens_details":{"cached_tokens":2}}',
        "cached",
    ),
    "arguments that are no JSON": ("arguments {x", "arguments"),
    "arguments that are no object": ("arguments [1]", "arguments"),
    "an argument that no message can hold": ('arguments {"x":' + "9" * 30 + "}", "too deep"),
    "arguments that are too deep": ('arguments {"x":' + "[" * 400 + "]" * 400 + "}", "too deep"),
    "HTML": ("html", "text/html"),
    "compressed bytes": ("gzip", "compressed"),
}


@STREAMED
@pytest.mark.parametrize("lie", LIES)
def test_an_endpoint_that_lies_is_told_to_the_one_caller(
    server: ServerProcess, lie: str, stream: bool
) -> None:
    words, said = LIES[lie]

    async def scenario(rig: Rig) -> list[Outcome]:
        rig.call(1, words, stream=stream)
        rig.call(2, "and you?", stream=stream)
        return [await rig.done(1), await rig.done(2)]

    liar, other = drive({"name": "far", "endpoint": server.url}, scenario)

    if lie == "no choices" and stream:
        check(liar, "in doubt", 200)  # a stream may have such events; but it never ended
    else:
        check(liar, "final", 200, said)
    assert other.body["text"].strip() == "and you?"


def event(**choice: Any) -> str:
    return json.dumps({"choices": [choice]}, separators=(",", ":"))


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ([event(delta={}, finish_reason="stop"), event(delta={"content": "x"})], "after the"),
        (
            [event(delta={}, finish_reason="stop"), event(delta={}, finish_reason="length")],
            "two finish reasons",
        ),
        ([event(delta={"content": "x"}), "[DONE]"], "without a finish reason"),
        ([event(delta={"tool_calls": [{"index": 10**9}]})], "index"),
        ([event(delta={"tool_calls": [{"index": -1}]})], "index"),
        ([event(delta={"refusal": "no"})], "refused"),
        ([event(logprobs={"content": [{"token": "x", "logprob": "y"}]})], "logprob"),
    ],
)
def test_a_stream_that_lies_is_refused(server: ServerProcess, events: list[str], said: str) -> None:
    check(complete(server, "raw " + " ".join(events), stream=True), "final", 200, said)


@pytest.mark.parametrize(
    ("what", "stream"), [("line", True), ("events", True), ("text", True), ("body", False)]
)
def test_an_answer_without_end_is_cut_off(server: ServerProcess, what: str, stream: bool) -> None:
    outcome = complete(server, f"endless {what}", stream=stream, sampling={"max_tokens": 1})

    check(outcome, "final", 200, "more than")


def test_what_an_endpoint_says_of_a_refusal_is_made_short_and_readable(
    server: ServerProcess,
) -> None:
    problem = complete(server, "status 400 a\x1b[31m " + "long " * 500).error.problem

    assert problem.isprintable()
    assert len(problem) < 320
