"""The engine's conversation with the kernel: start, prepare, cancel, a new kernel, the end."""

from __future__ import annotations

import asyncio
import builtins
from typing import Any

import pytest

from actors.remote_engine.call_task import Why
from actors.remote_engine.engine import RemoteEngine
from ipc.errors import (
    BadModelError,
    BadPromptError,
    SamplingError,
    UsageError,
    from_wire,
)
from ipc.plain import decode_plain
from ipc.protocol import Flag, Kind
from tests.actors.conftest import Script, script
from tests.remote_engine.rig import Outcome, Rig, ServerProcess, complete, drive

__all__ = ["script"]

NOWHERE = {"name": "far", "endpoint": "http://127.0.0.1:1/v1"}
HELLO = {"messages": [{"role": "user", "content": "hello"}]}


def start(spec: dict[str, Any]) -> dict[str, Any]:
    async def main() -> dict[str, Any]:
        rig = Rig(spec)
        news = await rig.start()
        await rig.engine.on_stop()
        return news

    return asyncio.run(main())


def prepare(preparation: dict[str, Any]) -> Any:
    """Return what PREPARE is answered with: a body or an error."""

    async def scenario(rig: Rig) -> Any:
        rig.give(Kind.PREPARE, 3, preparation)
        (answer,) = rig.of_kind(Kind.PREPARED)
        assert answer.correlation == 3
        body = decode_plain(answer.payload)
        return from_wire(body) if answer.flags & Flag.FAILED else body

    return drive(NOWHERE, scenario)


def test_a_ready_engine_says_how_much_it_takes() -> None:
    news = start({**NOWHERE, "concurrency": 3, "max_context": 1000})

    assert news["state"] == "ready"
    facts = news["facts"]
    assert (facts["block_size"], facts["max_running"], facts["max_context"]) == (0, 3, 1000)


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "host:8000/v1",
        "ftp://host/v1",
        "http:///v1",
        "http://host:x/v1",
        "http://[::1/v1",
        "http://host/v1?key=hidden",
        "http://user:hidden@host/v1",
        "http://host/v1#hidden",
    ],
)
def test_an_endpoint_that_is_none_is_refused_without_showing_its_secrets(endpoint: str) -> None:
    news = start({"name": "far", "endpoint": endpoint})

    assert news["state"] == "failed"
    assert isinstance(from_wire(news["error"]), BadModelError)
    assert "hidden" not in str(news)


@pytest.mark.parametrize(
    "fields", [{"timeout_s": 0}, {"timeout_s": float("nan")}, {"concurrency": 0}]
)
def test_a_spec_out_of_range_is_refused(fields: dict[str, Any]) -> None:
    assert start({**NOWHERE, **fields})["state"] == "failed"


def test_without_httpx_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def no_httpx(name: str, *rest: Any, **more: Any) -> Any:
        if name == "httpx":
            raise ImportError(name)
        return original(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", no_httpx)

    error = from_wire(start(NOWHERE)["error"])

    assert isinstance(error, BadModelError)
    assert "pip install 'llmos[remote]'" in error.problem


def test_a_request_that_can_be_made_is_prepared_without_ids() -> None:
    assert prepare({"input": HELLO, "sampling": {"max_tokens": 5}}) == {"ids": b""}


def test_messages_for_a_session_are_checked_and_stay_uncounted() -> None:
    assert prepare({"input": HELLO}) == {"ids": b""}
    assert isinstance(prepare({"input": {"messages": [7]}}), BadPromptError)


def test_tokens_of_a_remote_model_cannot_be_counted() -> None:
    error = prepare({"input": {"prompt": "hello"}})

    assert type(error) is UsageError
    assert "count" in str(error)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("top_k", 5),
        ("min_p", 0.1),
        ("repetition_penalty", 1.2),
        ("stop_ids", [7]),
        ("ignore_stop_ids", True),
        ("regex", "a+"),
        ("max_tokens", 0),
        ("max_tokens", "many"),
        ("temperature", -1),
        ("temperature", float("nan")),
        ("top_p", 0),
        ("stop", ["a", ""]),
        ("stop", "a"),
        ("seed", 1.5),
        ("logprobs", 21),
        ("logprobs", -1),
        ("schema", "{}"),
        ("best_of", 2),
    ],
)
def test_an_option_that_cannot_be_said_is_named(option: str, value: Any) -> None:
    error = prepare({"input": HELLO, "sampling": {option: value}})

    assert isinstance(error, SamplingError)
    assert error.option == option


@pytest.mark.parametrize("sampling", [{"schema": {}}, {"logprobs": 6}])
def test_raw_prompts_know_fewer_options(sampling: dict[str, Any]) -> None:
    assert isinstance(prepare({"input": {"prompt": "x"}, "sampling": sampling}), SamplingError)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"prompt": ""},
        {"prompt": "x", "messages": []},
        {"ids": b"\1\0\0\0"},
        {"messages": []},
        {"messages": ["hello"]},
        {"messages": [{"content": "x"}]},
        {"messages": [{"role": "user", "content": b"bytes"}]},
        {"messages": [{"role": "user", "content": float("inf")}]},
        {"messages": [{"role": "assistant", "tool_calls": [{"name": 5}]}]},
        {"messages": [{"role": "assistant", "tool_calls": 5}]},
        {"messages": [{"role": "assistant", "tool_calls": [{"name": "f", "arguments": b"x"}]}]},
        {**HELLO, "tools": "all"},
        {"prompt": "x", "tools": [{}]},
    ],
)
def test_an_input_that_is_none_is_refused(given: dict[str, Any]) -> None:
    assert isinstance(prepare({"input": given, "sampling": {}}), BadPromptError)


def test_a_session_cannot_go_to_a_remote_model() -> None:
    error = prepare({"input": HELLO, "sampling": {}, "previous": b"\1\0\0\0"})

    assert isinstance(error, BadPromptError)


def test_a_call_that_was_not_prepared_is_checked_all_the_same(server: ServerProcess) -> None:
    outcome = complete(server, "x", sampling={"top_k": 5})

    assert isinstance(outcome.error, SamplingError)
    assert outcome.proof == "final"
    assert server.stats().requests == 0


def test_a_cancelled_call_hangs_up_and_says_nothing_more(server: ServerProcess) -> None:
    async def scenario(rig: Rig) -> None:
        rig.call(1, "hold")
        rig.call(2, "hold")
        await server.wait(open=2)
        rig.give(Kind.CANCEL, 1)
        rig.give(Kind.CANCEL, 77)
        await server.wait(hung_up=1)
        server.control(release=True)
        assert (await rig.done(2)).body["text"] == "held "
        assert [envelope.correlation for envelope in rig.of_kind(Kind.DONE)] == [2]

    drive({"name": "far", "endpoint": server.url}, scenario)


@pytest.mark.parametrize("rounds", range(4))
def test_a_call_that_is_late_and_cancelled_at_once_hangs_up(
    server: ServerProcess, rounds: int
) -> None:
    """Cancelled twice, a task would not get to closing its connection."""

    async def scenario(rig: Rig) -> None:
        rig.call(1, "hold")
        await server.wait(open=1)
        rig.engine._calls[1].stop(Why.LATE)
        for _ in range(rounds):
            await asyncio.sleep(0)  # the first cancellation is on its way
        rig.give(Kind.CANCEL, 1)
        await server.wait(hung_up=1)
        assert server.stats().hung_up == 1
        assert rig.of_kind(Kind.DONE) == [] or rounds

    drive({"name": "far", "endpoint": server.url}, scenario)


def test_a_new_kernel_finds_an_engine_that_knows_of_no_call(server: ServerProcess) -> None:
    async def scenario(rig: Rig) -> None:
        rig.call(1, "hold")
        await server.wait(open=1)
        rig.said.clear()
        await rig.start()
        rig.call(1, "again")
        assert (await rig.done(1)).body["text"] == "again"
        assert len(rig.of_kind(Kind.DONE)) == 1

    drive({"name": "far", "endpoint": server.url}, scenario)

    assert server.stats().hung_up == 1


def test_calls_run_side_by_side(server: ServerProcess) -> None:
    async def scenario(rig: Rig) -> list[Outcome]:
        for request in range(40):
            rig.call(request, f"hold {request}")
        await server.wait(open=40)
        server.control(release=True)
        return [await rig.done(request) for request in range(40)]

    outcomes = drive({"name": "far", "endpoint": server.url}, scenario)

    assert [o.body["text"] for o in outcomes] == [f"held {number}" for number in range(40)]


@pytest.mark.parametrize("stream", [False, True])
def test_one_call_after_another_goes_over_one_connection(
    server: ServerProcess, stream: bool
) -> None:
    async def scenario(rig: Rig) -> None:
        for request in range(3):
            rig.call(request, "x", stream=stream)
            assert not (await rig.done(request)).failed

    drive({"name": "far", "endpoint": server.url}, scenario)

    assert (server.stats().requests, server.stats().connections) == (3, 1)


def test_an_endpoint_leaves_no_cookie(server: ServerProcess) -> None:
    async def scenario(rig: Rig) -> None:
        for request, text in enumerate(["cookie", "x"]):
            rig.call(request, text)
            await rig.done(request)

    drive({"name": "far", "endpoint": server.url}, scenario)

    assert server.stats().cookies == ["", ""]


def test_the_end_of_an_engine_hangs_up(server: ServerProcess) -> None:
    async def scenario(rig: Rig) -> None:
        rig.call(1, "hold")
        await server.wait(open=1)

    drive({"name": "far", "endpoint": server.url}, scenario)

    asyncio.run(server.wait(hung_up=1))
    assert server.stats().hung_up == 1


def test_a_cancel_of_a_call_reaches_the_driver_through_the_runtime(script: Script) -> None:
    taken: list[int] = []

    class Recorder(RemoteEngine):
        def __init__(self) -> None:
            super().__init__(NOWHERE)

        def linked(self) -> None:
            """Nothing to tell."""

        def take(self, envelope: Any) -> None:
            taken.append(envelope.correlation)

    kernel = script(Recorder)
    envelope = kernel.message(Kind.CANCEL, "", correlation=9, message=0)

    kernel.give(envelope)

    assert taken == [9]
