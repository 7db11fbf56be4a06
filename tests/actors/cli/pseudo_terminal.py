"""A person at a terminal of their own, in which the command line runs."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PATIENCE_S = 200.0
INSISTENCE_S = 3.0
SCREEN = {"TERM": "xterm", "COLUMNS": "180", "LINES": "40"}


class Conversation:
    """A person at a terminal."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self.seen = ""
        self._held = ""  # the beginning of a control sequence whose end has not come
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            os.chdir(ROOT)
            os.execve(command[0], command, {**environment, **SCREEN})

    def type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def expect(self, text: str) -> str:
        """Read until the text has come; return what came before it."""
        assert self._comes(text, PATIENCE_S), f"{text!r} did not come; seen: {self.seen!r}"
        before, _, self.seen = self.seen.partition(text)
        return before

    def insist(self, keys: str, text: str) -> None:
        """Type the keys until the text comes, as people do.

        For Ctrl-C at a prompt: Python's readline does not notice a signal that comes after it
        has drawn the prompt and before it waits for a key, which a busy machine can make long.
        """
        for _ in range(int(PATIENCE_S / INSISTENCE_S)):
            self.type(keys)
            if self._comes(text, INSISTENCE_S):
                break
        self.expect(text)

    def _comes(self, text: str, patience_s: float) -> bool:
        ends = time.monotonic() + patience_s
        while text not in self.seen:
            left = ends - time.monotonic()
            if left <= 0:
                return False
            if select.select([self._terminal], [], [], left)[0]:
                self.seen += self._read()
        return True

    def _read(self) -> str:
        try:
            data = os.read(self._terminal, 4096)
        except OSError:  # Linux says so when the program has ended
            data = b""
        assert data, f"the program has ended; seen: {self.seen!r}"
        text = self._held + data.decode(errors="replace")
        whole = re.sub(r"\x1b(\[[0-9;?]*)?$", "", text)
        self._held = text[len(whole) :]
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[=>]", "", whole)

    def end(self) -> int:
        """Wait for the end of the program; return its exit code."""
        _, status = os.waitpid(self.pid, 0)
        os.close(self._terminal)
        self.pid = 0
        return os.waitstatus_to_exitcode(status)

    def abandon(self) -> None:
        """Kill the program if it has not ended."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            self.end()


Talk = Callable[..., Conversation]
