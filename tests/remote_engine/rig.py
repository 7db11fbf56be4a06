"""A RemoteEngine in this process, with a stand-in for its port, and the server's process."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import urllib.request
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from actors.remote_engine.engine import RemoteEngine
from ext.wire import Envelope
from ipc.errors import LLMOSError, from_wire
from ipc.plain import decode_plain, encode_plain
from ipc.protocol import Flag, Kind

PATIENCE_S = 100.0  # for what must come; nothing waits that long unless a test fails
SERVER = Path(__file__).with_name("server.py")


class ServerProcess:
    """The server of server.py, as a process."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(SERVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def stats(self) -> Any:
        return SimpleNamespace(**self._ask("/stats", None))

    def control(self, **what: Any) -> None:
        self._ask("/control", what)

    async def wait(self, **wanted: int) -> None:
        """Wait until the server's stats are at least that; the test then sees if they are."""
        await asyncio.to_thread(self._ask, "/wait", wanted)

    def close(self) -> None:
        self._process.communicate(timeout=PATIENCE_S)

    def _ask(self, path: str, body: Any) -> Any:
        data = None if body is None else json.dumps(body).encode()
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{self.port}{path}", data) as answer:
            return json.load(answer)


@dataclass
class Outcome:
    """How a call ended."""

    body: dict[str, Any]
    failed: bool
    pieces: list[str] = field(default_factory=list)

    @property
    def error(self) -> LLMOSError:
        assert self.failed, self.body
        return from_wire(self.body["error"])

    @property
    def proof(self) -> str:
        """Say what the failure proves."""
        assert self.failed, self.body
        assert not (self.body["is_unstarted"] and self.body["is_in_doubt"])
        if self.body["is_unstarted"]:
            return "unstarted"
        return "in doubt" if self.body["is_in_doubt"] else "final"


class Rig:
    """An engine and what it has said."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.engine = RemoteEngine(spec)
        self.engine._port = SimpleNamespace(id=5, peer=SimpleNamespace(post=self._take))  # type: ignore[assignment]
        self.said: list[Envelope] = []
        self._news = asyncio.Event()

    def _take(self, envelope: Envelope) -> None:
        self.said.append(envelope)
        self._news.set()

    async def start(self) -> dict[str, Any]:
        """Link the engine; return the news that ends its start."""
        self.engine.linked()
        return decode_plain((await self.wait_for(self._is_end_of_start)).payload)

    @staticmethod
    def _is_end_of_start(envelope: Envelope) -> bool:
        return envelope.kind == Kind.ENGINE and decode_plain(envelope.payload)["state"] != "loading"

    def give(self, kind: Kind, request: int, body: Any = None) -> None:
        payload = encode_plain(body)
        self.engine.take(Envelope(kind, 0, 5, payload, correlation=request))

    def call(self, request: int, text: str, *, api: str = "chat", **fields: Any) -> None:
        """Give it a CALL."""
        messages = [{"role": "user", "content": text}]
        given = {"messages": messages} if api == "chat" else {"prompt": text}
        call = {"input": given, "sampling": {}, "stream": False, **fields}
        self.give(Kind.CALL, request, call)

    async def done(self, request: int) -> Outcome:
        """Wait for the end of a call."""
        end = await self.wait_for(lambda e: e.kind == Kind.DONE and e.correlation == request)
        pieces = [
            decode_plain(envelope.payload)["text"]
            for envelope in self.said
            if envelope.kind == Kind.PIECE and envelope.correlation == request
        ]
        return Outcome(decode_plain(end.payload), bool(end.flags & Flag.FAILED), pieces)

    async def wait_for(self, is_it: Callable[[Envelope], bool]) -> Envelope:
        """Wait for the first envelope that is it."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                for envelope in self.said:
                    if is_it(envelope):
                        return envelope
                self._news.clear()
                await self._news.wait()

    def of_kind(self, kind: Kind) -> list[Envelope]:
        return [envelope for envelope in self.said if envelope.kind == kind]


def drive(spec: dict[str, Any], scenario: Callable[[Rig], Awaitable[Any]]) -> Any:
    """Run a scenario with a started engine; return what it returns."""

    async def main() -> Any:
        rig = Rig(spec)
        news = await rig.start()
        assert news["state"] == "ready", news
        try:
            return await scenario(rig)
        finally:
            await rig.engine.on_stop()

    return asyncio.run(main())


def complete(server: ServerProcess, text: str, **fields: Any) -> Outcome:
    """Make one call. spec: further fields of the model's spec; the rest: of the call."""
    spec = {"name": "far", "endpoint": server.url, **fields.pop("spec", {})}

    async def scenario(rig: Rig) -> Outcome:
        rig.call(1, text, **fields)
        return await rig.done(1)

    outcome: Outcome = drive(spec, scenario)
    return outcome
