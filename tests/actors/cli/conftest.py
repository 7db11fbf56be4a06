"""Fixtures of the command line's tests."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.actors.cli.fake import Terminal, terminal
from tests.actors.cli.pseudo_terminal import Conversation, Talk


@pytest.fixture
def llmos(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Run command lines against a fake client."""
    for variable in ("LLMOS_HOME", "LLMOS_NAME", "LLMOS_DEBUG", "_LLMOS_COMPLETE"):
        monkeypatch.delenv(variable, raising=False)
    return terminal(monkeypatch)


@pytest.fixture
def talk(tmp_path: Path) -> Iterator[Talk]:
    """Return what begins a command line at a terminal of its own."""
    begun: list[Conversation] = []

    def begin(*words: str) -> Conversation:
        program = [sys.executable, "-m", "tests.actors.cli.terminal_program", str(tmp_path)]
        begun.append(Conversation([*program, *words], dict(os.environ)))
        return begun[-1]

    yield begin
    for conversation in begun:
        conversation.abandon()
