"""The endpoint's key: read from where the spec says, renewed on 401, shown to nobody."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from actors.remote_engine.endpoint import read_endpoint
from actors.remote_engine.key import Key
from ipc.errors import BadModelError, EndpointError, from_wire
from ipc.protocol import Kind
from tests.remote_engine.rig import Outcome, Rig, ServerProcess, complete, drive

SECRET = "sk-not-to-be-seen-0123456789"
NEWER = "sk-the-next-one-9876543210"


def test_the_key_comes_from_the_environment_or_from_a_file(
    server: ServerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.control(key=SECRET)
    monkeypatch.setenv("FAR_KEY", SECRET)
    (tmp_path / "key").write_text(f"{SECRET}\n")

    assert not complete(server, "x", spec={"key_env": "FAR_KEY"}).failed
    assert not complete(server, "x", spec={"key_file": str(tmp_path / "key")}).failed

    assert server.stats().keys == [f"Bearer {SECRET}"] * 2


def test_without_a_key_nothing_is_said_of_one(server: ServerProcess) -> None:
    complete(server, "x")

    assert server.stats().keys == [""]


def test_a_key_that_was_exchanged_is_read_again_and_the_call_goes_through(
    server: ServerProcess, tmp_path: Path
) -> None:
    path = tmp_path / "key"
    path.write_text(SECRET)
    server.control(key=SECRET)

    async def scenario(rig: Rig) -> list[Outcome]:
        rig.call(1, "x")
        first = await rig.done(1)
        path.write_text(NEWER)
        server.control(key=NEWER)
        for request in range(2, 6):  # at once: each must notice, whoever reads first
            rig.call(request, "y")
        return [first, *[await rig.done(request) for request in range(2, 6)]]

    spec = {"name": "far", "endpoint": server.url, "key_file": str(path)}
    outcomes = drive(spec, scenario)

    assert [outcome.failed for outcome in outcomes] == [False] * 5
    assert server.stats().completed == 5


@pytest.mark.parametrize("spoil", ["same", "gone", "wrong"])
def test_a_key_that_is_refused_is_tried_at_most_twice(
    server: ServerProcess, tmp_path: Path, spoil: str
) -> None:
    path = tmp_path / "key"
    path.write_text(SECRET)
    server.control(key="another")

    async def scenario(rig: Rig) -> Outcome:
        {"same": lambda: None, "gone": path.unlink, "wrong": lambda: path.write_text(NEWER)}[
            spoil
        ]()
        rig.call(1, "x")
        return await rig.done(1)

    spec = {"name": "far", "endpoint": server.url, "key_file": str(path)}
    outcome = drive(spec, scenario)

    assert isinstance(outcome.error, EndpointError)
    assert (outcome.error.status, outcome.proof) == (401, "final")
    assert SECRET not in str(outcome.error)
    assert server.stats().requests == (2 if spoil == "wrong" else 1)


def test_an_endpoint_that_repeats_the_key_does_not_get_it_shown(
    server: ServerProcess, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("FAR_KEY", SECRET)
    caplog.set_level(logging.DEBUG)
    event = f'raw {{"error":{{"message":"{SECRET}"}}}}'

    outcomes = [
        complete(server, "status 400 your header was KEY !", spec={"key_env": "FAR_KEY"}),
        complete(server, event, stream=True, spec={"key_env": "FAR_KEY"}),
        complete(server, event, spec={"key_env": "FAR_KEY"}),
        complete(server, f'finish "{SECRET}"', spec={"key_env": "FAR_KEY"}),
    ]

    assert [str(SECRET) in str(outcome.body) for outcome in outcomes] == [False] * 4
    assert "[key]" in outcomes[0].error.problem
    assert SECRET not in caplog.text


@pytest.mark.parametrize("content", ["", " \n", "two words", "line\nline", "schlüssel", "x" * 9000])
def test_what_cannot_be_a_key_is_refused_without_being_shown(tmp_path: Path, content: str) -> None:
    path = tmp_path / "key"
    path.write_text(content)
    spec = {"name": "far", "endpoint": "http://127.0.0.1:1/v1", "key_file": str(path)}

    with pytest.raises(BadModelError) as caught:
        Key(read_endpoint(spec), spec).read()

    assert str(path) in str(caught.value)
    assert not content.strip() or content not in str(caught.value)


def test_a_key_shows_itself_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAR_KEY", SECRET)
    spec = {"name": "far", "endpoint": "http://127.0.0.1:1/v1", "key_env": "FAR_KEY"}
    key = Key(read_endpoint(spec), spec)
    key.read()

    assert SECRET not in repr(key)
    assert key.scrub(f"a{SECRET}b") == "a[key]b"


@pytest.mark.parametrize(
    "spec",
    [
        {"key_env": "LLMOS_TEST_NO_SUCH_VARIABLE"},
        {"key_file": "/nowhere/key"},
        {"key_env": "HOME", "key_file": "/nowhere/key"},
    ],
)
def test_an_engine_without_its_key_says_that_it_failed(spec: dict[str, str]) -> None:
    async def main() -> Rig:
        rig = Rig({"name": "far", "endpoint": "http://127.0.0.1:1/v1", **spec})
        rig.news = await rig.start()  # type: ignore[attr-defined]
        return rig

    rig = asyncio.run(main())

    assert rig.news["state"] == "failed"  # type: ignore[attr-defined]
    assert isinstance(from_wire(rig.news["error"]), BadModelError)  # type: ignore[attr-defined]
    assert len(rig.of_kind(Kind.ENGINE)) == 2
