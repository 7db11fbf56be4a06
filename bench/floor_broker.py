"""The floor under every message: raw pyzmq, a DEALER-ROUTER-DEALER broker, three processes.

Question: what do three Python processes and their sockets cost before anything is promised?
Nothing here is numbered, journaled, checked or packed into batches. Budget: none, it is the floor.

It is written as pyzmq's guide writes it, with ``recv_multipart`` and ``send_multipart``; frames
and flags handled one by one gain it 10 % of a round trip and 60 % one way (bench/README.md).

The roles run as processes (``python -m bench.floor_broker ROLE ENDPOINT COPY``): the broker
routes by name, the worker answers or counts, the client measures what it is told on its standard
input, one JSON list a line, and answers in one line:

    ["ask", size, count]               the round trips, in ns
    ["one_way", size, count]           messages a second, from the first sent to the last counted
    ["asks", size, count, outstanding] round trips a second
"""

from __future__ import annotations

import ctypes
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, perf_counter_ns
from types import TracebackType
from typing import Any

import zmq

from ipc.start import own_python

CLIENT, WORKER = b"client", b"worker"
FIND_ATTEMPTS = 400  # of 50 ms
PR_SET_PDEATHSIG = 1  # prctl(2)
ASK, COUNT, TELL, HERE = b"?", b"#", b"!", b"."  # first byte of a body


class Floor:
    """The three processes; they inherit the CPUs of whoever starts them."""

    def __init__(self, directory: Path, *, copy: bool = True) -> None:
        """Start them; the client takes commands when it has found the worker.

        copy: False shares buffers with ZeroMQ, which is cheaper from about 64 KiB on.
        """
        endpoint = f"ipc://{directory}/floor-{copy:d}.sock"
        start = [(role, endpoint, str(int(copy))) for role in ("broker", "worker", "client")]
        self._processes = [start_role(*words) for words in start]
        self._client = self._processes[-1]
        self.pids = [process.pid for process in self._processes]

    def round_trips_ns(self, size: int, count: int) -> list[int]:
        """Return the times of single round trips."""
        times: list[int] = self._command("ask", size, count)
        return times

    def one_way_per_s(self, size: int, count: int) -> float:
        """Return messages a second, sent one by one and received one by one."""
        return float(self._command("one_way", size, count))

    def asks_per_s(self, size: int, count: int, outstanding: int) -> float:
        """Return round trips a second with so many under way."""
        return float(self._command("asks", size, count, outstanding))

    def __enter__(self) -> Floor:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the processes."""
        for process in self._processes:
            process.kill()
            process.communicate()

    def _command(self, *words: Any) -> Any:
        pipe_in, pipe_out = self._client.stdin, self._client.stdout
        assert pipe_in is not None
        assert pipe_out is not None
        pipe_in.write(json.dumps(words) + "\n")
        pipe_in.flush()
        return json.loads(pipe_out.readline())


def start_role(*words: str) -> subprocess.Popen[str]:
    """Start one of the processes."""
    command = own_python("bench.floor_broker", *words)
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


# --- the roles ------------------------------------------------------------------------------


def broker(endpoint: str, copy: bool) -> None:
    """Route [to, body] from anybody as [from, body]; what nobody takes is dropped."""
    socket = bare(zmq.Context().socket(zmq.ROUTER))
    socket.bind(endpoint)
    while True:
        sender, receiver, body = socket.recv_multipart(copy=copy)
        socket.send_multipart([receiver, sender, body], copy=copy)


def worker(endpoint: str, copy: bool) -> None:
    """Answer asks with their body, count tells, say the count when asked."""
    socket = dealer(endpoint, WORKER)
    socket.send_multipart([WORKER, HERE])  # now the broker knows the name
    while bytes(socket.recv_multipart(copy=True)[1]) != HERE:
        pass  # who asks before that asks again; what is counted begins after it
    count = 0
    while True:
        sender, body = socket.recv_multipart(copy=copy)
        first = body[:1] if copy else body.buffer[:1]
        if first == ASK:
            socket.send_multipart([sender, body], copy=copy)
        elif first == COUNT:
            socket.send_multipart([sender, b"%d" % count], copy=copy)
            count = 0
        else:
            count += 1


def client(endpoint: str, copy: bool) -> None:
    """Do what the standard input says."""
    measuring = Measuring(endpoint, copy)
    commands: dict[str, Callable[..., Any]] = {
        "ask": measuring.ask,
        "one_way": measuring.one_way,
        "asks": measuring.asks,
    }
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        print(json.dumps(commands[name](*arguments)), flush=True)


class Measuring:
    """The client's commands; see the module head."""

    def __init__(self, endpoint: str, copy: bool) -> None:
        self.socket = dealer(endpoint, CLIENT)
        self.copy = copy
        self._find_worker()

    def ask(self, size: int, count: int) -> list[int]:
        body, times = ASK + bytes(size - 1), []
        for _ in range(count):
            start = perf_counter_ns()
            self._send(body)
            self._receive()
            times.append(perf_counter_ns() - start)
        return times

    def one_way(self, size: int, count: int) -> float:
        body, start = TELL + bytes(size - 1), perf_counter()
        for _ in range(count):
            self._send(body)
        self._send(COUNT)
        if (counted := int(bytes(self._receive()))) != count:
            raise RuntimeError(f"{counted} of {count} messages arrived")
        return count / (perf_counter() - start)

    def asks(self, size: int, count: int, outstanding: int) -> float:
        body, start = ASK + bytes(size - 1), perf_counter()
        for _ in range(outstanding):
            self._send(body)
        for number in range(count):
            self._receive()
            if number + outstanding < count:
                self._send(body)
        return count / (perf_counter() - start)

    def _send(self, body: bytes) -> None:
        self.socket.send_multipart([WORKER, body], copy=self.copy)

    def _receive(self) -> bytes:
        body: bytes = self.socket.recv_multipart(copy=self.copy)[1]
        return body

    def _find_worker(self) -> None:
        """Ask until the broker knows the worker; late answers are thrown away."""
        for _ in range(FIND_ATTEMPTS):
            self._send(COUNT)
            if self.socket.poll(50):
                break
        else:
            raise RuntimeError("the floor's worker does not answer")
        while self.socket.poll(100):
            self._receive()


def bare(socket: zmq.Socket[bytes]) -> Any:
    """Return the socket without limits: nothing may be dropped."""
    socket.setsockopt(zmq.SNDHWM, 0)
    socket.setsockopt(zmq.RCVHWM, 0)
    return socket


def dealer(endpoint: str, name: bytes) -> Any:
    """Return a connected socket with a name."""
    socket = bare(zmq.Context().socket(zmq.DEALER))
    socket.setsockopt(zmq.IDENTITY, name)
    socket.connect(endpoint)
    return socket


def main() -> int:
    """Run one role."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # never outlive the bench
    role, endpoint, copy = sys.argv[1:4]
    {"broker": broker, "worker": worker, "client": client}[role](endpoint, copy == "1")
    return 0


if __name__ == "__main__":
    sys.exit(main())
