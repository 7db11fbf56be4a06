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
from ipc.envelope import decode
from ipc.plain import decode_plain
from tests.actors.test_peer import Owner


def test_a_hello_that_is_not_answered_is_said_again_on_a_new_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actors.peer, "WELCOME_S", 0.05)
    context: zmq.Context[Any] = zmq.Context()
    router = context.socket(zmq.ROUTER)
    router.setsockopt(zmq.RCVTIMEO, 10_000)
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
