"""What `llmos ask` says of whom it waits for."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from actors.cli.patience import explained
from ipc.errors import UnknownActorError


class Kernel:
    """Answers `inspect` with a state, or an error."""

    def __init__(self, state: str | None) -> None:
        self.state = state
        self.was_asked = threading.Event()

    def system(self, call: str, /, **arguments: Any) -> Any:
        assert (call, arguments) == ("inspect", {"actor": "clerk"})
        self.was_asked.set()
        if self.state is None:
            raise UnknownActorError(name="clerk", hint="")
        return {"state": self.state}


def said(kernel: Kernel, capsys: pytest.CaptureFixture[str]) -> str:
    with explained(kernel, "clerk", after_s=0):
        assert kernel.was_asked.wait(30)
        for thread in threading.enumerate():
            if isinstance(thread, threading.Timer):
                thread.join(30)
    return capsys.readouterr().err


def test_who_waits_for_a_quarantined_agent_is_told_what_lets_it_try_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = said(Kernel("quarantined"), capsys)

    assert text.startswith("waiting for clerk: it is quarantined; ")
    assert "`llmos restart clerk`" in text


def test_who_waits_for_a_busy_agent_is_told_that_it_works(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert said(Kernel("running"), capsys) == "waiting for clerk: it is running; Ctrl-C cancels\n"


def test_an_agent_that_cannot_be_inspected_is_not_spoken_of(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert said(Kernel(None), capsys) == ""


def test_an_answer_in_time_needs_no_word(capsys: pytest.CaptureFixture[str]) -> None:
    kernel = Kernel("idle")

    with explained(kernel, "clerk"):
        pass

    assert not kernel.was_asked.is_set()
    assert capsys.readouterr().err == ""
