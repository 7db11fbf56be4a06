"""The commands about language models, against a real kernel and a real engine process."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from actors.cli.exits import Exit
from ipc.start import own_python
from tests.actors.cli.pseudo_terminal import Conversation
from tests.actors.cli.test_live import Shell, idle_shell, own_shell
from tests.actors.llm.engine import DRIVER

__all__ = ["idle_shell", "own_shell"]

pytestmark = pytest.mark.slow

PARROT = """
from collections.abc import AsyncIterator
from actors import Actor, receive

class Parrot(Actor):
    @receive
    async def chat(self, text: str) -> AsyncIterator[str]:
        async for piece in self.llm.stream(text):
            yield piece
"""


def say(shell: Shell, text: str, *words: str) -> str:
    """Return what `llmos chat` prints for lines through a pipe."""
    done = subprocess.run(
        own_python("actors.cli.main", "chat", *words),
        cwd=shell.folder,
        env=shell.environment,
        input=text,
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_model_is_added_loaded_used_talked_with_and_removed(own_shell: Shell) -> None:
    own_shell("model", "add", "capitals", "--driver", DRIVER, "--use")
    assert "capitals@1 is ready on 1 engine" in own_shell("model", "load", "capitals").stdout

    assert own_shell("complete", "hello there").stdout == "HELLO THERE\n"
    document = own_shell.json("complete", "hello", "--max-tokens", "3")
    assert document["text"] == "HEL"  # type: ignore[index]
    assert document["finish_reason"] == "length"  # type: ignore[index]
    assert say(own_shell, "one\ntwo\n", "capitals") == "ONE\nTWO\n"

    line = next(row for row in own_shell.json("model", "ls") if row["name"] == "capitals")  # type: ignore[attr-defined]
    assert (line["is_default"], line["state"], line["sessions"]) == (True, "ready", 0)
    look = json.loads(own_shell("top", "-n", "1", "-i", "0.2", "--json").stdout)
    (engine,) = look["llm"]["engines"]
    assert (engine["model"], engine["running"]) == ("capitals", 0)
    assert "engine.capitals.1" in own_shell("top", "-n", "1", "-i", "0.1").stdout

    own_shell("model", "rm", "capitals")
    assert (
        "capitals" in own_shell("complete", "x", "--model", "capitals", code=Exit.NOT_FOUND).stderr
    )


def test_ctrl_c_at_a_terminal_stops_the_engine_and_not_the_conversation(own_shell: Shell) -> None:
    own_shell("model", "add", "capitals", "--driver", DRIVER, "--use")
    chat = Conversation(own_python("actors.cli.main", "chat", "capitals"), own_shell.environment)
    try:
        chat.expect("You talk with capitals")
        chat.type("w" * 2000 + "\n")  # ten seconds of an engine, so that we are in time
        chat.expect("WWW")
        chat.type("\x03")
        chat.expect("(stopped)")
        (engine,) = own_shell.json("top", "-n", "1", "-i", "0.1")["llm"]["engines"]  # type: ignore[index]
        assert engine["running"] == engine["waiting"] == 0
        chat.type("hello\n")
        chat.expect("HELLO")
        chat.type("/quit\n")
        assert chat.end() == Exit.OK
    finally:
        chat.abandon()


def test_an_agent_that_uses_a_model_is_talked_with(own_shell: Shell) -> None:
    own_shell("model", "add", "capitals", "--driver", DRIVER, "--use")
    (Path(own_shell.folder) / "parrot.py").write_text(PARROT)
    own_shell("spawn", "parrot.py:Parrot", "--as", "polly")

    assert say(own_shell, "hello\nyou\n", "--agent", "polly") == "HELLO\nYOU\n"


def test_a_driver_that_is_not_there_is_told_when_it_is_loaded(own_shell: Shell) -> None:
    own_shell("model", "add", "odd", "--driver", "nosuchmodule:Engine")

    failed = own_shell("model", "load", "odd", code=Exit.BAD_CLASS)

    assert "No module named 'nosuchmodule'" in failed.stderr
    assert "failed" in own_shell("model", "ls").stdout
