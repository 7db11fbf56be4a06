"""A kernel of the bench's own, and the stage on which all benches play.

A ``World`` is a kernel process with a temporary home. The ``Stage`` holds two of them, each with
its floor: one may run on all CPUs, the other on one CPU with everything that belongs to it
(agents and the floor's processes inherit it). They are started when first asked for.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

from actors import ActorRef, connect
from actors.cli.kernel_process import Settings, start_kernel
from actors.client import Client
from bench.floor_broker import Floor
from ipc.home import home_at

DURABILITY = "process"
STOP_S = 30.0


class World:
    """A kernel process, its home, and a client of it."""

    def __init__(self) -> None:
        """Start it; what it prints goes to a file in its home."""
        self.directory = Path(tempfile.mkdtemp(prefix="llmos-bench-"))
        self.home = home_at(self.directory / "home")
        self.process = self._start()
        self.client: Client = connect(home=self.home.state_dir)

    def spawn(self, class_name: str, name: str, **options: Any) -> ActorRef[Any]:
        """Start an agent of bench/agents.py."""
        return self.client.spawn(f"bench.agents:{class_name}", name=name, **options)

    def pids(self) -> list[int]:
        """Return the processes of all agents."""
        return [info["pid"] for info in self.client.system("ps")]

    def restart_after_kill(self) -> None:
        """SIGKILL the kernel, and return when another listens in its place."""
        self.process.kill()
        self.process.wait()
        self.process = self._start()

    def close(self) -> None:
        """Stop the kernel and its agents, and remove all that they wrote."""
        pids = [pid for pid in self.pids() if pid]
        self.client.close()
        self.process.terminate()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _start(self) -> subprocess.Popen[bytes]:
        self.home.logs.mkdir(parents=True, exist_ok=True, mode=0o700)
        log_path = self.home.logs / "boot.log"
        with log_path.open("ab") as output:
            started = start_kernel(
                self.home, Settings(durability=DURABILITY), output=output, own_session=True
            )
        if not started.is_ready:
            raise RuntimeError(f"the kernel did not start: {log_path.read_text()}")
        return started.process

    def __enter__(self) -> World:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Pair:
    """A kernel and its floor, on the same CPUs."""

    def __init__(self, parts: ExitStack) -> None:
        self.world = parts.enter_context(World())
        self.floor = parts.enter_context(Floor(self.world.directory))
        self.large_floor = parts.enter_context(Floor(self.world.directory, copy=False))
        self.world.spawn("Echo", "echo")
        self.world.spawn("Sink", "sink")
        self.asker = self._asker("asker", "echo")
        self.teller = self._asker("teller", "sink")

    def ask_pids(self) -> list[int]:
        """Return the processes that take part in an ask: both agents and the kernel."""
        agents = {info["name"]: info["pid"] for info in self.world.client.system("ps")}
        return [self.world.process.pid, agents["asker"], agents["echo"]]

    def _asker(self, name: str, peer: str) -> ActorRef[Any]:
        asker = self.world.spawn("Asker", name)
        asker.meet(peer)
        return asker


class Stage:
    """What the benches share; closing it ends every process."""

    def __init__(self) -> None:
        self._parts = ExitStack()

    @cached_property
    def free(self) -> Pair:
        """On all CPUs."""
        return Pair(self._parts)

    @cached_property
    def pinned(self) -> Pair:
        """On one CPU."""
        with on_one_cpu():
            return Pair(self._parts)

    def __enter__(self) -> Stage:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._parts.close()


@contextmanager
def on_one_cpu() -> Iterator[None]:
    """Have this thread, and what it starts meanwhile, run on the last CPU that it may use."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
