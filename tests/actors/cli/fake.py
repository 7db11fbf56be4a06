"""A client without a kernel: answers system calls from a table, and notes what was called."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from actors.cli import connection
from actors.cli.app import build_app, needed
from actors.llm.blocking import BlockingLlm
from actors.llm.llm import Llm
from actors.reference import ActorRef, Call
from ipc.errors import LLMOSError, UnknownActorError
from tests.actors.llm.wire import completion

Answer = Any  # a value, an error to raise, or a function of the arguments


class FakeClient:
    """Stands where the SDK's client stands; it is also the port of its references."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {
            "ps": [agent(12, "hits"), agent(13, "billing")],
            "llm_status": {"engines": [], "owners": []},
            "resources": {"agents": []},
        }
        self.handlers: dict[str, Answer] = {}
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.messages: list[Call] = []
        self.llm = BlockingLlm(Llm(FakeLlmPort(self)))

    def system(self, name: str, /, **arguments: Any) -> Any:
        self.calls.append((name, arguments))
        return give(self.answers[name], **arguments)

    def lookup(self, name: int | str) -> ActorRef[Any]:
        for info in self.answers["ps"]:
            if name in (info["name"], info["actor"]):
                return ActorRef(self, info["actor"], name=info["name"])
        raise UnknownActorError(name=name, hint="")

    def spawn(self, target: str, *args: Any, **options: Any) -> ActorRef[Any]:
        self.calls.append(("spawn", {"target": target, "args": args, **options}))
        give(self.answers.get("spawn"))
        return ActorRef(self, 14, name=options.get("name") or "new")

    def invoke(self, call: Call) -> Any:
        call.is_sent = True
        self.messages.append(call)
        return give(self.handlers.get(call.method))

    ask = tell = iterate = block = invoke


class FakeItems:
    """Items of a streamed call, and its end."""

    def __init__(self, texts: list[str]) -> None:
        self._texts = iter(texts)
        self._all = "".join(texts)

    async def __anext__(self) -> dict[str, Any]:
        try:
            return {"text": next(self._texts), "tokens": 1}
        except StopIteration:
            raise StopAsyncIteration from None

    async def aclose(self) -> None:
        pass

    def result(self) -> dict[str, Any]:
        return completion(self._all)


class FakeLlmPort:
    """The port of the client's LLM calls: system calls from the client's table."""

    def __init__(self, client: FakeClient) -> None:
        self._client = client

    async def ask_kernel(self, name: str, arguments: Any, options: Any, aside: Any = None) -> Any:
        return self._client.system(name, **arguments)

    def iterate_kernel(self, name: str, arguments: Any, options: Any, aside: Any = None) -> Any:
        return FakeItems(self._client.system(name, **arguments))

    def block(self, call: Any) -> Any:
        async def outcome() -> Any:
            return await call

        return asyncio.run(outcome())


def give(answer: Answer, /, **arguments: Any) -> Any:
    """Return the answer, raise it, or compute it."""
    if isinstance(answer, LLMOSError):
        raise answer
    return answer(**arguments) if callable(answer) else answer


def agent(number: int, name: str, **fields: Any) -> dict[str, Any]:
    """Return one line of ``ps``."""
    return {
        "actor": number,
        "name": name,
        "target": "shop.py:Shop",
        "parent": None,
        "state": "idle",
        "waiting_for": [],
        "incarnation": 1,
        "restarts": 0,
        "pid": None,
        "mailbox": 0,
        "mailbox_bytes": 0,
        "handled": 0,
        "failures": 0,
        "state_bytes": 0,
        "started_wall_ns": None,
        "last_error": None,
        **fields,
    }


class Terminal:
    """Runs command lines against a fake client."""

    def __init__(self, client: FakeClient) -> None:
        self.client = client

    def __call__(self, *words: str) -> Result:
        app = build_app(needed(list(words)), for_people=False)
        return CliRunner().invoke(app, list(words))


def terminal(monkeypatch: pytest.MonkeyPatch, error: LLMOSError | None = None) -> Terminal:
    """Return a terminal; with ``error``, every connection fails with it."""
    client = FakeClient()

    @contextmanager
    def connect(**_: Any) -> Iterator[FakeClient]:
        if error is not None:
            raise error
        yield client

    monkeypatch.setattr(connection, "connect_sdk", lambda: connect)
    return Terminal(client)
