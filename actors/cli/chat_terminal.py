"""A conversation at a terminal, or through a pipe.

At a terminal: lines are edited and remembered by readline, answers appear as they are made,
Ctrl-C stops an answer or empties the line, Ctrl-D or /quit ends, an error is shown and the
conversation goes on. Through a pipe each line is a message; the first error ends it.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import typer

from actors.cli.chat_partner import Partner
from actors.cli.guard import show_error
from ipc.errors import LLMOSError

HISTORY_LINES = 1000
HELP = {
    "/help": "show this",
    "/reset": "begin the conversation anew",
    "/model [NAME]": "talk with another model, from the beginning",
    "/quit": "end; so does Ctrl-D",
    "//...": "say something that begins with a slash",
}

Switch = Callable[[str | None], Partner]  # a model's name -> whom to talk with from then on


def talk_through_pipe(partner: Partner) -> None:
    """Answer each line of standard input."""
    for line in sys.stdin:
        if text := line.rstrip("\n"):
            _print_answer(partner, text)


class TerminalChat:
    """See the module head."""

    def __init__(self, partner: Partner, switch: Switch, history: Path) -> None:
        """Make a conversation. history: the file that remembers the lines."""
        self.partner = partner
        self._switch = switch
        self._history = history
        self._is_over = False

    def run(self) -> None:
        """Talk until the person leaves."""
        with _readline(self._history):
            typer.echo(f"You talk with {self.partner.title}. /help shows the commands.")
            while not self._is_over:
                with contextlib.suppress(KeyboardInterrupt):  # it came between two steps
                    self._take(self._read())

    def _read(self) -> str:
        """Return the next line; an empty one after Ctrl-C."""
        try:
            return input("> ")
        except EOFError:
            typer.echo()
            self._is_over = True
        except KeyboardInterrupt:
            typer.echo("\n(/quit or Ctrl-D ends)")
        return ""

    def _take(self, line: str) -> None:
        if not line.strip():
            return
        try:
            if line.startswith("/") and not line.startswith("//"):
                self._command(*line[1:].split(maxsplit=1))
            else:
                _print_answer(self.partner, line.removeprefix("/"))
        except KeyboardInterrupt:
            typer.echo("\n(stopped)")
        except LLMOSError as error:
            show_error(error)

    def _command(self, name: str = "", argument: str | None = None) -> None:
        match name:
            case "quit" | "exit":
                self._is_over = True
            case "reset":
                self.partner.reset()
                typer.echo("(a new conversation)")
            case "model":
                partner = self._switch(argument)
                self.partner.close()
                self.partner = partner
                typer.echo(f"(you talk with {partner.title})")
            case _:
                width = max(map(len, HELP))
                for command, meaning in HELP.items():
                    typer.echo(f"{command:<{width}}  {meaning}")


def _print_answer(partner: Partner, text: str) -> None:
    with contextlib.closing(partner.say(text)) as pieces:
        for piece in pieces:
            sys.stdout.write(piece)
            sys.stdout.flush()
    typer.echo()


@contextlib.contextmanager
def _readline(history: Path) -> Iterator[None]:
    """Let ``input`` edit and remember lines; the file is for its owner alone."""
    try:
        # Imported here: only a terminal needs it, and some Pythons are built without it.
        import readline
    except ImportError:
        yield
        return
    with contextlib.suppress(OSError):
        readline.read_history_file(history)
    try:
        yield
    finally:
        readline.set_history_length(HISTORY_LINES)
        with contextlib.suppress(OSError):
            os.close(os.open(history, os.O_CREAT | os.O_WRONLY, 0o600))
            readline.write_history_file(history)
