"""The kernel's end of the zygote: starts the process, speaks its protocol.

What it is not: the protocol's description (actors/zygote.py), or what an answer means
(kernel/host/launcher.py). A zygote that died is started again by the next ``start``.

The zygote gets one end of a socketpair, no other descriptor, and a session of its own, so
that Ctrl-C at the kernel's terminal does not reach it.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ipc.home import Home
from ipc.pipe import MessagePipe
from ipc.start import GroupRecipe, StartRequest, own_python
from kernel.host.watcher import Watcher
from kernel.output import StartProcess


class ZygoteLink:
    """At most one living zygote. Set ``on_message`` and ``on_death`` before ``start``."""

    def __init__(
        self,
        watcher: Watcher,
        home: Home,
        grace_s: float,
        *,
        lease_s: float = 60.0,
        umask: int = 0o022,
        module: str = "actors.zygote",
    ) -> None:
        """Start nothing yet. grace_s: how long agents look for a kernel. umask: of agents.

        lease_s: of agents whose class says none. module: whose ``main`` is run.
        """
        self.on_message: Callable[[str, list[Any]], None] = lambda verb, arguments: None
        self.on_death: Callable[[], None] = lambda: None
        self._watcher = watcher
        self._home = home
        self._grace_s = grace_s
        self._lease_s = lease_s
        self._umask = umask
        self._module = module
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: MessagePipe | None = None
        self._is_waiting_to_write = False

    @property
    def pid(self) -> int | None:
        """Return the pid of the living zygote."""
        return self._process.pid if self._process is not None else None

    def warm_up(self) -> None:
        """Start a zygote if there is none, so that the first agent need not wait for it.

        Raises OSError if it cannot be started.
        """
        if self._process is not None:
            return
        ours, theirs = socket.socketpair()
        try:
            self._process = self._spawn(theirs)
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        ours.setblocking(False)
        self._pipe = MessagePipe(ours)
        self._watcher.add(ours.fileno(), self._on_ready)

    def start(self, command: StartProcess, group: GroupRecipe | None = None) -> None:
        """Ask for an agent. group: the control group it is to make and enter.

        Raises OSError if there is no zygote and none can be started.
        """
        self.warm_up()
        assert self._pipe is not None
        self._pipe.send(["start", self._request(command, group).to_bytes()])
        self._look_at_unsent()

    def close(self) -> None:
        """Let the zygote end: it does when its stream ends. Agents live on."""
        if self._pipe is not None and self._process is not None:
            self._release()

    def _request(self, command: StartProcess, group: GroupRecipe | None) -> StartRequest:
        return StartRequest(
            actor=command.actor,
            incarnation=command.incarnation,
            token=command.token,
            name=command.name,
            spec=command.spec,
            endpoint=self._home.endpoint,
            home=str(self._home.state_dir),
            log_path=str(self._home.log_path(command.actor, command.name)),
            grace_s=self._grace_s,
            lease_s=self._lease_s,
            group=group,
        )

    def _spawn(self, theirs: socket.socket) -> subprocess.Popen[bytes]:
        log = Path(self._home.logs / "zygote.log")
        with open(log, "ab", opener=_private) as output:
            return subprocess.Popen(
                own_python(self._module, str(theirs.fileno())),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                umask=self._umask,
            )

    def _on_ready(self) -> None:
        assert self._pipe is not None
        self._pipe.flush()
        for verb, *arguments in self._pipe.receive():
            self.on_message(verb, arguments)
        if self._pipe.is_closed:
            self._release()
            self.on_death()
        else:
            self._look_at_unsent()

    def _look_at_unsent(self) -> None:
        assert self._pipe is not None
        if self._pipe.has_unsent != self._is_waiting_to_write and not self._pipe.is_closed:
            self._is_waiting_to_write = self._pipe.has_unsent
            self._watcher.want_write(self._pipe.fileno(), self._is_waiting_to_write)

    def _release(self) -> None:
        """Close our end and reap the process; it ends at the end of its stream."""
        assert self._pipe is not None
        assert self._process is not None
        self._watcher.remove(self._pipe.fileno())
        self._pipe.close()
        try:
            self._process.wait(timeout=2.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None
        self._pipe = None
        self._is_waiting_to_write = False


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
