"""actors/link.py over a real ipc:// socket, against a ROUTER that does as the test says."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import zmq

import actors.peer
from actors.link import Link
from actors.peer import Peer
from ext.wire import Envelope
from ipc.envelope import decode, encode
from ipc.plain import decode_plain, encode_plain
from ipc.protocol import Kind
from tests.actors.scripted import LIMITS
from tests.actors.test_peer import Owner


def test_a_hello_that_is_not_answered_is_said_again_on_a_new_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actors.peer, "WELCOME_S", 0.05)
    context: zmq.Context[Any] = zmq.Context()
    router = context.socket(zmq.ROUTER)
    router.setsockopt(zmq.RCVTIMEO, 100_000)
    router.bind(f"ipc://{tmp_path}/s")
    lost: list[str] = []

    async def hear(count: int) -> list[tuple[bytes, int]]:
        loop = asyncio.get_running_loop()
        link = Link(
            f"ipc://{tmp_path}/s",
            Peer(Owner(), loop),
            loop,
            on_lost=lambda: lost.append("lost"),
            on_broken=lambda error: lost.append(repr(error)),
        )
        link.open()
        heard = []
        for _ in range(count):
            route, *parts = await loop.run_in_executor(None, router.recv_multipart)
            hello = decode_plain(decode(parts)[0].payload)
            heard.append((route, hello["attempt"]))
        link.close()
        return heard

    heard = asyncio.run(hear(3))

    assert [attempt for _, attempt in heard] == [1, 2, 3]
    assert len({route for route, _ in heard}) == 3
    assert set(lost) == {"lost"}
    router.close(linger=0)
    context.term()


def welcome(epoch: int) -> Envelope:
    facts = {"epoch": epoch, "generation": 3, "taken": 0, "resumed": False, "state": {}}
    return Envelope(Kind.WELCOME, payload=encode_plain({**facts, "limits": LIMITS}))


class Kernel:
    """A ROUTER that reads and writes when it is told to."""

    def __init__(self, context: zmq.Context[Any], endpoint: str) -> None:
        self.router = context.socket(zmq.ROUTER)
        self.router.setsockopt(zmq.RCVTIMEO, 100_000)
        self.router.bind(endpoint)

    def hear(self) -> tuple[bytes, list[Envelope]]:
        route, *parts = self.router.recv_multipart()
        return route, decode(parts)

    def say(self, route: bytes, *envelopes: Envelope) -> None:
        self.router.send_multipart([route, *encode(list(envelopes))])

    def die(self) -> None:
        self.router.close(linger=0)


def test_what_a_dead_kernel_had_not_read_comes_to_the_next_only_after_its_welcome(
    tmp_path: Path,
) -> None:
    endpoint = f"ipc://{tmp_path}/s"
    context: zmq.Context[Any] = zmq.Context()

    async def live() -> tuple[list[Envelope], list[Envelope]]:
        loop = asyncio.get_running_loop()
        do: Any = lambda f, *a: loop.run_in_executor(None, f, *a)  # noqa: E731
        first = Kernel(context, endpoint)
        peer = Peer(Owner(), loop)
        link = Link(endpoint, peer, loop, on_lost=lambda: None, on_broken=lambda _: None)
        link.open()
        route, _ = await do(first.hear)
        number = Envelope(Kind.TELL, index=1, sequence=1, acknowledged=0)
        first.say(route, welcome(epoch=1), number)
        while not peer.channel.taken:  # noqa: ASYNC110
            await asyncio.sleep(0)
        for index in range(500):  # nobody reads them
            peer.post(Envelope(Kind.TELL, index=index, payload=b"x" * 1000))
            await asyncio.sleep(0)
        peer.beat()
        first.die()
        second = Kernel(context, endpoint)
        route, before = await do(second.hear)
        with pytest.raises(zmq.Again):
            second.router.recv_multipart(zmq.NOBLOCK)
        second.say(route, welcome(epoch=2))
        after: list[Envelope] = []
        while len(after) < 500:
            after += (await do(second.hear))[1]
        link.close()
        second.die()
        return before, after

    before, after = asyncio.run(live())
    context.term()

    assert [envelope.kind for envelope in before] == [Kind.HELLO]
    assert [(e.sequence, e.index) for e in after] == [(n + 1, n) for n in range(500)]
    assert {envelope.acknowledged for envelope in after} == {0}  # of the new epoch: nothing yet
