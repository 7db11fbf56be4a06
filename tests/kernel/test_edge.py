"""kernel/host/edge.py over a real ipc:// socket."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq

from ext.wire import Envelope
from ext.zmq_port import Part
from ipc.envelope import decode, encode
from kernel.host.edge import INPUT, Edge


def envelope(number: int = 1, payload: bytes = b"hello", **fields: Any) -> Envelope:
    return Envelope(10, 1, 2, payload, message=number, **fields)


class Peer:
    """A DEALER as an agent has it."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str) -> None:
        self.socket = context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.connect(endpoint)

    def send(self, *envelopes: Envelope) -> None:
        self.socket.send_multipart(encode(list(envelopes)))


class Stage:
    def __init__(self, endpoint: str) -> None:
        self.edge = Edge(endpoint, max_payload=1 << 20)
        self.context = zmq.Context()
        self.endpoint = endpoint
        self.peers: list[Peer] = []
        self.taken: list[tuple[bytes, list[Envelope]]] = []

    def peer(self) -> Peer:
        self.peers.append(Peer(self.context, self.endpoint))
        return self.peers[-1]

    def close(self) -> None:
        for peer in self.peers:
            peer.socket.close()
        self.context.destroy(linger=0)
        self.edge.close()

    def drain(self, until: int) -> None:
        """Drain until so many messages were taken, bad ones included."""
        count = 0
        never, end = os.pipe()
        while count < until:
            assert self.edge.wait(never, 10_000) & INPUT
            count += self.edge.drain(lambda route, batch: self.taken.append((route, batch)))
        os.close(never)
        os.close(end)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(f"ipc://{tmp_path}/s")
    yield stage
    stage.close()


def test_batches_come_in_whole_and_answers_go_back_to_their_route(stage: Stage) -> None:
    peers = [stage.peer(), stage.peer()]
    for i, peer in enumerate(peers):
        peer.send(envelope(i), envelope(i + 10))
    stage.drain(2)

    for route, batch in stage.taken:
        assert stage.edge.send(route, [envelope(batch[0].message + 100)])

    assert {batch[0].message for _, batch in stage.taken} == {0, 1}
    assert all(len(batch) == 2 for _, batch in stage.taken)
    for i, peer in enumerate(peers):
        (answer,) = decode(peer.socket.recv_multipart())
        assert answer.message == i + 100


def test_bad_frames_are_counted_and_dropped(stage: Stage) -> None:
    peer = stage.peer()
    (batch,) = encode([envelope()])
    bad: list[list[bytes]] = [
        [b""],
        [b"x"],
        [b"x", b"y"],
        [batch + b"!"],
        [batch[:-1]],
        [batch[:127]],
        [b"\x00" + batch[1:]],
        [batch, b"an attachment too many"],
        [b"\x00" * 128],
        encode([envelope(payload=b"x" * ((1 << 20) + 1))]),
    ]
    for parts in bad:
        peer.socket.send_multipart(parts)
    peer.send(envelope(7))
    stage.drain(len(bad) + 1)

    assert [batch[0].message for _, batch in stage.taken] == [7]
    assert stage.edge.counters["bad_frames"] == len(bad)
    assert stage.edge.last_problem is not None


def test_a_peer_that_is_gone_is_counted_not_waited_for(stage: Stage) -> None:
    assert not stage.edge.send(b"\x00nobody", [envelope()])
    assert stage.edge.counters["unreachable"] == 1


def test_a_peer_that_does_not_read_never_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kernel.host.edge.HIGH_WATER_MARK", 4)
    stage = Stage(f"ipc://{tmp_path}/s")
    peer = stage.peer()
    peer.send(envelope())
    stage.drain(1)
    route = stage.taken[0][0]

    results = [stage.edge.send(route, [envelope(payload=b"x" * 500_000)]) for _ in range(500)]

    assert not all(results)
    assert stage.edge.counters["peer_full"] == results.count(False)
    stage.close()


def test_large_attachments_pass_through_without_a_copy(stage: Stage) -> None:
    peer = stage.peer()
    array = np.arange(500_000, dtype=np.int64)
    peer.send(envelope(attachments=(array.data.cast("B"), b"small")))
    stage.drain(1)
    route, (got,) = stage.taken[0]

    assert isinstance(got.attachments[0], Part)
    assert isinstance(got.attachments[1], bytes)
    stage.edge.send(route, [got])
    (back,) = decode(peer.socket.recv_multipart())
    assert bytes(back.attachments[0]) == array.tobytes()
    assert bytes(got.attachments[0]) == array.tobytes()  # still there, to be sent again


def test_a_drain_is_bounded(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kernel.host.edge.DRAIN_ENVELOPES", 3)
    peer = stage.peer()
    for number in range(10):
        peer.send(envelope(number))
    stage.drain(1)

    counts = []
    while sum(counts) + len(stage.taken) < 10 or stage.edge.has_input():
        counts.append(stage.edge.drain(lambda route, batch: None))

    assert max(counts, default=0) <= 3
