"""The command line with a client that needs no kernel, to be run in a terminal of its own.

    python -m tests.actors.cli.terminal_program FOLDER chat small

The model answers with what was said, in capitals; "wait" gets one word and then nothing more,
"fail" gets an error. A model is loaded when its progress has been looked at a few times; "slow" is
never loaded.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from actors.cli import connection
from actors.cli.app import build_app, needed
from ipc.errors import EngineDownError, UnknownSessionError
from tests.actors.cli.fake import FakeClient, FakeItems
from tests.actors.cli.test_models import KERNEL, engine, owner
from tests.actors.llm.wire import session

LOOKS = 3  # at a model's progress, until it is loaded


class Answer(FakeItems):
    """What the model says to the last message."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        said = arguments["input"]["messages"][-1]["content"]
        super().__init__([f"<{arguments['session']}> ", said.upper()])
        self._waits = said == "wait"
        self._fails = said == "fail"
        self._given = 0

    async def __anext__(self) -> dict[str, Any]:
        if self._fails:
            raise EngineDownError(model="small", problem="it is broken")
        if self._waits and self._given:
            await asyncio.Event().wait()
        self._given += 1
        return await super().__anext__()

    async def aclose(self) -> None:
        print("[cancelled]", end="", flush=True)


class Loading:
    """A model that is ready once its progress has been looked at often enough."""

    def __init__(self, ready: dict[str, Any]) -> None:
        self._ready = ready
        self._num_looks = 0
        self._is_ready = threading.Event()
        self._has_left = threading.Event()

    def look(self) -> list[dict[str, Any]]:
        self._num_looks += 1
        if self._num_looks >= LOOKS:
            self._is_ready.set()
        return [{**self._ready, "facts": {"progress": min(1.0, self._num_looks / LOOKS)}}]

    def load(self, name: str, **_: Any) -> dict[str, Any]:
        (self._has_left if name == "slow" else self._is_ready).wait()
        return self._ready

    def leave(self) -> None:
        """The connection ends, and the calls that wait for an answer with it."""
        self._is_ready.set()
        self._has_left.set()


class Sessions:
    """The sessions that are open; each is closed once."""

    def __init__(self) -> None:
        self._numbers = iter(range(1, 100))
        self._open: set[int] = set()

    def open(self, **_: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self._open.add(number)
        return session(number)

    def close(self, session: int) -> None:
        if session not in self._open:
            raise UnknownSessionError(session=session)
        self._open.remove(session)


def main(folder: Path) -> None:
    client = FakeClient()
    sessions = Sessions()
    ready = {"name": "small", "version": 3, "is_default": True, "engines": 1, "facts": {}}
    loading = Loading(ready)
    client.answers |= {
        "models": loading.look,
        "model_load": loading.load,
        "status": KERNEL,
        "llm_status": {"engines": [engine()], "owners": [owner()]},
        "llm_session": sessions.open,
        "llm_close": sessions.close,
        "inspect": {"handlers": {"greet": "async def greet(text: str) -> str"}},
    }
    client.handlers["greet"] = "hello from the agent"
    port = client.llm._llm._port
    port.iterate_kernel = lambda name, arguments, *_: Answer(arguments)  # type: ignore[method-assign]

    @contextmanager
    def connect(**_: Any) -> Iterator[FakeClient]:
        try:
            yield client
        finally:
            loading.leave()

    connection.connect_sdk = lambda: connect  # type: ignore[assignment, return-value]
    os.environ["LLMOS_HOME"] = str(folder)
    build_app(needed(sys.argv[2:]), for_people=True)(sys.argv[2:], prog_name="llmos")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
