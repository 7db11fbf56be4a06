"""`llmos chat` with a client that needs no kernel; run in a terminal of its own by test_chat.py.

The model answers with what was said, in capitals; "wait" gets one word and then nothing more,
"fail" gets an error.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from actors.cli import connection
from actors.cli.app import build_app
from ipc.errors import EngineDownError
from tests.actors.cli.fake import FakeClient, FakeItems
from tests.actors.llm.wire import session


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


def main(folder: Path) -> None:
    client = FakeClient()
    numbers = iter(range(1, 100))
    ready = {"name": "small", "version": 3, "is_default": True, "facts": {}, "error": None}
    client.answers |= {
        "models": [ready],
        "model_load": lambda **_: ready,
        "llm_session": lambda **_: session(next(numbers)),
        "llm_close": {},
        "inspect": {"handlers": {"greet": "async def greet(text: str) -> str"}},
    }
    client.handlers["greet"] = "hello from the agent"
    port = client.llm._llm._port
    port.iterate_kernel = lambda name, arguments, *_: Answer(arguments)  # type: ignore[method-assign]

    @contextmanager
    def connect(**_: Any) -> Iterator[FakeClient]:
        yield client

    connection.connect_sdk = lambda: connect  # type: ignore[assignment, return-value]
    app = build_app(["chat"], for_people=False)
    words = sys.argv[2:]
    app(["chat", "--home", str(folder), *words], prog_name="llmos")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
