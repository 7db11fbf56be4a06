"""Commands about recordings: what they ask of the kernel, and what they print."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.actors.cli.fake import Terminal


def info(state: str, **fields: Any) -> dict[str, Any]:
    return {
        "state": state,
        "path": "/t/day.jsonl",
        "noted": 7,
        "written": 7,
        "dropped": 0,
        "problem": "",
        **fields,
    }


def in_turn(*infos: dict[str, Any]) -> Any:
    """Answer with one after the other."""
    left: Iterator[dict[str, Any]] = iter(infos)
    return lambda: next(left)


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.cli.record.PAUSE_S", 0.0)


def test_start_gives_an_absolute_path_and_waits_for_the_file(llmos: Terminal) -> None:
    llmos.client.answers["record_start"] = info("starting")
    llmos.client.answers["record_status"] = in_turn(info("starting"), info("recording"))

    result = llmos("record", "start", "day.jsonl")

    assert llmos.client.calls[0] == ("record_start", {"path": str(Path("day.jsonl").absolute())})
    assert result.stdout == "recording: /t/day.jsonl, 7 requests, 7 written\n"


def test_a_file_that_cannot_be_made_is_an_error_that_says_why(llmos: Terminal) -> None:
    llmos.client.answers["record_start"] = info("starting")
    llmos.client.answers["record_status"] = info("failed", problem="File exists: /t/day.jsonl")

    result = llmos("record", "start", "day.jsonl")

    assert result.exit_code == 2
    assert "File exists: /t/day.jsonl" in result.stderr


def test_stop_waits_for_what_is_still_to_be_written_and_tells_of_drops(llmos: Terminal) -> None:
    llmos.client.answers["record_stop"] = info("stopping")
    llmos.client.answers["record_status"] = in_turn(
        info("stopping"), info("stopped", written=5, dropped=2)
    )

    line = llmos("record", "stop").stdout

    assert line.startswith("stopped: /t/day.jsonl, 7 requests, 5 written, 2 dropped")


def test_status_says_how_to_begin_when_nothing_is_recorded(llmos: Terminal) -> None:
    llmos.client.answers["record_status"] = info("idle", path="")

    assert "llmos record start" in llmos("record", "status").stdout
    assert json.loads(llmos("record", "status", "--json").stdout)["state"] == "idle"
