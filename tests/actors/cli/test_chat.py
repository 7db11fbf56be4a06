"""`llmos chat`, at a real terminal (a pty) and through a pipe."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from actors.cli.exits import Exit
from tests.actors.cli.pseudo_terminal import ROOT, Talk

pytestmark = pytest.mark.slow


def test_a_conversation_streams_resets_switches_and_ends(talk: Talk) -> None:
    chat = talk("chat", "small")
    chat.expect("You talk with small")
    chat.type("hello\n")
    chat.expect("<1> HELLO")
    chat.type("/reset\n")
    chat.expect("(a new conversation)")
    chat.type("again\n")
    chat.expect("<2> AGAIN")
    chat.type("/model small@3\n")
    chat.expect("(you talk with small)")
    chat.type("//slash\n")
    chat.expect("<3> /SLASH")
    chat.type("/help\n")
    chat.expect("/model [NAME]")
    chat.type("/quit\n")

    assert chat.end() == Exit.OK


def test_ctrl_c_stops_the_answer_and_not_the_program(talk: Talk) -> None:
    chat = talk("chat")
    chat.expect("> ")
    chat.type("wait\n")
    chat.expect("<1> ")
    chat.type("\x03")
    chat.expect("[cancelled]")
    chat.expect("(stopped)")
    chat.type("more\n")
    chat.expect("<1> MORE")
    chat.expect("> ")
    chat.insist("\x03", "(/quit or Ctrl-D ends)")
    chat.expect("> ")
    chat.type("\x04")

    assert chat.end() == Exit.OK


def test_an_error_is_shown_and_the_conversation_goes_on(talk: Talk) -> None:
    chat = talk("chat")
    chat.expect("> ")
    chat.type("fail\n")
    chat.expect("it is broken")
    chat.type("well\n")
    chat.expect("<1> WELL")
    chat.type("/quit\n")

    assert chat.end() == Exit.OK


def test_lines_are_remembered_for_the_owner_alone(talk: Talk, tmp_path: Path) -> None:
    chat = talk("chat")
    chat.expect("> ")
    chat.type("remember me\n")
    chat.expect("<1> REMEMBER ME")
    chat.type("/quit\n")
    assert chat.end() == Exit.OK
    history = tmp_path / "chat_history"
    assert "remember me" in history.read_text()
    assert history.stat().st_mode & 0o077 == 0

    again = talk("chat")
    again.expect("> ")
    again.type("\x1b[A\x1b[A\n")  # up, over /quit
    again.expect("<1> REMEMBER ME")
    again.type("/quit\n")

    assert again.end() == Exit.OK


def test_an_agent_is_talked_with_by_its_only_handler(talk: Talk) -> None:
    chat = talk("chat", "--agent", "hits")
    chat.expect("You talk with hits")
    chat.type("hi\n")
    chat.expect("hello from the agent")
    chat.type("/reset\n")
    chat.expect("its own")
    chat.type("/quit\n")

    assert chat.end() == Exit.OK


def through_pipe(tmp_path: Path, text: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.actors.cli.terminal_program", str(tmp_path)]
    return subprocess.run(
        [*command, "chat", *words],
        cwd=ROOT,
        input=text,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )


def test_through_a_pipe_each_line_is_a_message(tmp_path: Path) -> None:
    done = through_pipe(tmp_path, "one\n\n/two\n")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "<1> ONE\n<1> /TWO\n"


def test_through_a_pipe_an_error_ends_with_its_exit_code(tmp_path: Path) -> None:
    done = through_pipe(tmp_path, "fail\nnever\n")

    assert done.returncode == Exit.FAILED
    assert "it is broken" in done.stderr
    assert "NEVER" not in done.stdout


def test_with_json_each_answer_is_a_document(tmp_path: Path) -> None:
    done = through_pipe(tmp_path, "one\n", "--json")

    assert done.stdout == '{"said": "one", "answer": "<1> ONE"}\n'
