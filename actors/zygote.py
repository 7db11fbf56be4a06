"""The zygote: a process that has the SDK imported, and forks an agent in a few milliseconds.

The kernel starts it with one socket (ipc/pipe.py) and no other descriptor:

    kernel to zygote   ["start", StartRequest as bytes]
    zygote to kernel   ["ready", pid]
                       ["started", actor, incarnation, pid, start time]
                       ["failed", actor, incarnation, problem]
                       ["exited", pid, wait status, CPU time that it has used, in ns]

Invariants:
  I1  one thread and no ZeroMQ context: a lock held at a fork would stay locked in the child.
  I2  an agent is in a session of its own, holds no descriptor of ours, and lives on when the
      zygote or the kernel ends. The zygote ends when the kernel does (end of the stream).

  I3  an agent is a subreaper, and so are we: what a dead agent leaves behind becomes our child,
      whatever it did to look like nobody's, and is killed.

Cost: a fork of a frozen heap, about 2 ms; the pages are shared until written.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import sys
from pathlib import Path
from typing import Any, NoReturn

from actors.child import become_agent, become_subreaper
from actors.user_path import arrange_own_path
from ipc.pipe import MessagePipe
from ipc.proc import child_pids, read_stat
from ipc.start import StartRequest


class Zygote:
    """Serves one kernel until it closes the socket."""

    def __init__(self, pipe: MessagePipe) -> None:
        self._pipe = pipe
        self._agents: set[int] = set()
        self._wakeup, self._wakeup_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, _do_nothing)
        signal.set_wakeup_fd(self._wakeup_end, warn_on_full_buffer=False)

    def run(self) -> None:
        """Fork on request and report deaths, until the kernel is gone."""
        self._pipe.send(["ready", os.getpid()])
        poller = select.poll()
        poller.register(self._pipe.fileno(), select.POLLIN)
        poller.register(self._wakeup, select.POLLIN)
        while not self._pipe.is_closed:
            for descriptor, _ in poller.poll():
                if descriptor == self._wakeup:
                    self._reap()
                else:
                    self._serve()

    def _serve(self) -> None:
        for verb, *arguments in self._pipe.receive():
            if verb == "start":
                self._start(StartRequest.from_bytes(arguments[0]))

    def _start(self, request: StartRequest) -> None:
        identity = [request.actor, request.incarnation]
        problem = _problem_with(request)
        if problem is not None:
            self._pipe.send(["failed", *identity, problem])
            return
        try:
            pid = os.fork()
        except OSError as error:
            self._pipe.send(["failed", *identity, f"cannot fork: {error.strerror}"])
            return
        if pid == 0:
            _run_child(request)
        # not reaped before we return to the loop, so that /proc still knows it
        self._agents.add(pid)
        self._pipe.send(["started", *identity, pid, _start_time_of_child(pid)])

    def _reap(self) -> None:
        os.read(self._wakeup, 4096)
        while (ended := _wait_for_any()) is not None:
            pid, status, cpu_ns = ended
            if pid in self._agents:
                self._agents.discard(pid)
                self._pipe.send(["exited", pid, status, cpu_ns])
        self._kill_orphans()

    def _kill_orphans(self) -> None:
        """Kill what agents have left behind (I3); what these leave comes here in its turn."""
        for pid in child_pids(os.getpid()):
            if pid not in self._agents:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)  # our child: its pid is its own until we wait


def _wait_for_any() -> tuple[int, int, int] | None:
    """Return pid, status and CPU time of a child that has ended; None if none has."""
    try:
        pid, status, usage = os.wait4(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    cpu_ns = round((usage.ru_utime + usage.ru_stime) * 1e6) * 1000
    return (pid, status, cpu_ns) if pid else None


def _start_time_of_child(pid: int) -> int:
    stat = read_stat(pid)
    assert stat is not None
    return stat.start_time


def _problem_with(request: StartRequest) -> str | None:
    """Say what keeps this request from becoming an agent, if that can be told beforehand."""
    cwd = request.spec.get("cwd")
    if cwd and not os.access(cwd, os.X_OK):
        return f"cannot enter its working directory {cwd}"
    logs = Path(request.log_path).parent
    if not os.access(logs, os.W_OK):
        return f"cannot write to {logs}"
    return None


def _run_child(request: StartRequest) -> NoReturn:
    signal.set_wakeup_fd(-1)
    become_agent(request)


def _do_nothing(number: int, frame: Any) -> None:
    """Handle SIGCHLD: the wake-up descriptor is what tells the loop."""


def main() -> None:
    """Run the zygote. argv: the descriptor of the socket to the kernel."""
    arrange_own_path()
    become_subreaper()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sock = socket.socket(fileno=int(sys.argv[1]))
    sock.set_inheritable(False)
    gc.collect()
    gc.freeze()
    Zygote(MessagePipe(sock)).run()
