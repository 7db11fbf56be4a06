"""Garbage thrown at a live kernel: it counts and drops it, and goes on serving the others.

Random parts, truncated and bit-flipped batches, oversized payloads, replayed and forged
frames, floods of hellos with wrong tokens. After each kind a client asks an agent something.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from actors import connect
from ext.wire import Envelope
from ipc.envelope import encode
from ipc.home import home_at
from ipc.plain import encode_plain
from ipc.protocol import Flag, Kind
from tests.chaos.kernel_process import KernelProcess, running_kernel

BANK = f"{Path(__file__).with_name('bank.py')}:Account"
ROUNDS = 200

Throw = Callable[[random.Random], list[bytes]]


def valid_batch(rng: random.Random) -> list[Envelope]:
    """Return envelopes as a peer would send them, of any kind, with random fields."""
    return [
        Envelope(
            rng.choice(list(Kind)),
            rng.getrandbits(63),
            rng.choice([0, 1, 2, 3, rng.getrandbits(63)]),
            rng.choice([b"", rng.randbytes(40), encode_plain([rng.random(), [], {}])]),
            message=rng.getrandbits(10),
            turn=rng.getrandbits(10),
            correlation=rng.getrandbits(10),
            index=rng.getrandbits(4),
            flags=rng.getrandbits(10),
            priority=rng.randrange(8),
            sequence=rng.choice([0, 1, 2, rng.getrandbits(20)]),
            acknowledged=rng.getrandbits(20),
        )
        for _ in range(rng.randrange(1, 5))
    ]


def noise(rng: random.Random) -> list[bytes]:
    return [rng.randbytes(rng.randrange(400)) for _ in range(rng.randrange(1, 5))]


def truncated(rng: random.Random) -> list[bytes]:
    (part,) = encode(valid_batch(rng))
    return [part[: rng.randrange(len(part))]]


def flipped(rng: random.Random) -> list[bytes]:
    part = bytearray(encode(valid_batch(rng))[0])
    part[rng.randrange(len(part))] ^= 1 << rng.randrange(8)
    return [bytes(part)]


def oversized(rng: random.Random) -> list[bytes]:
    part = bytearray(encode([Envelope(Kind.TELL, 1, 2, b"x")])[0])
    part[108:112] = b"\xff\xff\xff\xff"
    return [bytes(part)]


def forged(rng: random.Random) -> list[bytes]:
    """Well-formed frames of a peer that never said hello."""
    return encode(valid_batch(rng))


def strangers(rng: random.Random) -> list[bytes]:
    """Hellos with every field there, and wrong."""
    hello = {
        "role": rng.choice(["agent", "client", "king"]),
        "protocol": rng.choice([1, 1, 2]),
        "actor": rng.choice([2, 1 << 63 | 5, 0, 10**6]),
        "incarnation": rng.randrange(3),
        "token": rng.choice(["", "00" * 32, "é"]),
        "generation": rng.choice([None, 1]),
        "epoch": rng.choice([None, 1, 10**9]),
        "taken": rng.choice([0, 2**40]),
        "open": rng.choice([[], [1, 2], ["x"]]),
    }
    if rng.random() < 0.3:
        hello.pop(rng.choice(sorted(hello)))
    return encode([Envelope(Kind.HELLO, 0, 0, encode_plain(hello))])


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelProcess]:
    """One for all: whatever was thrown at it before, it goes on."""
    with running_kernel(tmp_path_factory.mktemp("fuzzed")) as process:
        yield process


@pytest.mark.slow
@pytest.mark.parametrize("throw", [noise, truncated, flipped, oversized, forged, strangers])
def test_a_live_kernel_survives_garbage(kernel: KernelProcess, throw: Throw) -> None:
    rng = random.Random(throw.__name__)
    with connect(home=str(kernel.home)) as client, zmq.Context() as context:
        account = client.spawn(BANK)
        endpoint = home_at(kernel.home).endpoint
        for _ in range(4):
            with context.socket(zmq.DEALER) as peer:
                peer.setsockopt(zmq.LINGER, 500)
                peer.connect(endpoint)
                for _ in range(ROUNDS // 4):
                    peer.send_multipart(throw(rng))

        account.meet([])
        assert account.deposit(1, 5) == 1
        assert account.report()["balance"] == 1005


@pytest.mark.slow
def test_replayed_frames_of_a_real_peer_do_nothing(kernel: KernelProcess) -> None:
    """A client's frames, sent again over the same connection, are taken once."""
    token = Path(home_at(kernel.home).operator_token).read_text().strip()
    session = 1 << 63 | 77
    hello = {
        "role": "client",
        "protocol": 1,
        "actor": session,
        "incarnation": 0,
        "token": token,
        "generation": None,
        "epoch": None,
        "taken": 0,
        "open": [],
    }
    with connect(home=str(kernel.home)) as client, zmq.Context() as context:
        account = client.spawn(BANK)
        account.meet([])
        body = encode_plain(["deposit", [1, 5], {}])
        tell = Envelope(Kind.TELL, session, account.id, body, flags=Flag.WANT_ACK, sequence=1)
        with context.socket(zmq.DEALER) as peer:
            peer.setsockopt(zmq.RCVTIMEO, 100_000)
            peer.connect(home_at(kernel.home).endpoint)
            peer.send_multipart(encode([Envelope(Kind.HELLO, session, 0, encode_plain(hello))]))
            peer.recv_multipart()
            for _ in range(20):
                peer.send_multipart(encode([tell]))
            peer.recv_multipart()

        assert account.report()["got"] == [1]
