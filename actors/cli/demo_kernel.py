"""A kernel of one's own: in a home of its own, killed and started again as one likes.

The demos use it, and the examples. It behaves as an operator would: it starts the kernel as a
process, and uses signals. A client that is connected to it stays connected throughout; that the
kernel was away is a pause to it.

Promise: within ``own_home``, SIGTERM, SIGHUP and Ctrl-C leave nothing behind: no kernel, no agent
(a ``Kernel`` is to be stopped in a ``finally``) and no temporary home.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import typer

from actors.cli.connection import Operator
from actors.cli.dead_letters import first_line
from actors.cli.interruption import interruptible, signals_held
from actors.cli.kernel_process import Settings, launch_kernel, open_boot_log
from ipc.errors import KernelUnavailableError, UsageError
from ipc.home import Home

if TYPE_CHECKING:
    from actors.client import Client

STOP_TIMEOUT_S = 20.0
MARK = "OWN_LLMOS_KERNEL"  # names a kernel and all that it and its agents start


class StalledError(Exception):
    """The agents made no progress for too long, or will make none."""


@contextmanager
def own_home(home: Path | None = None, *, keep: bool = False) -> Iterator[Path]:
    """Yield an empty home; remove it afterwards, unless it was given or is to be kept.

    One of a run that failed is kept, to be looked into; of one that was interrupted, or was asked
    for what cannot be, it is not.
    Raises:
        UsageError: the one that was given is not empty.
        Interrupted: the program was told to end; everything is removed.
    """
    if home is not None and home.exists() and any(home.iterdir()):
        raise UsageError(reason=f"{home} is not empty: the demo needs a home of its own")
    with interruptible():
        place = home or Path(tempfile.mkdtemp(prefix="llmos-demo-"))
        is_temporary = home is None and not keep
        try:
            yield place
        except (KeyboardInterrupt, UsageError):
            raise
        except BaseException:
            is_temporary = False
            typer.echo(f"what happened is in {place / 'logs'}", err=True)
            raise
        finally:
            if is_temporary:
                with signals_held():
                    shutil.rmtree(place, ignore_errors=True)


@dataclass(slots=True)
class Kernel:
    """A kernel process of one's own."""

    home: Home
    settings: Settings = field(default_factory=Settings)
    process: subprocess.Popen[bytes] | None = None
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)  # in the environment of all of it

    def start(self) -> int:
        """Start it and wait until it listens; its output goes to the home's boot.log.

        Returns: its process id.
        Raises:
            KernelUnavailableError: it ended at once.
        """
        with open_boot_log(self.home) as output:
            with signals_held():  # once it runs, ``stop`` must know of it
                launched = launch_kernel(
                    self.home,
                    self.settings,
                    output=output,
                    own_session=True,
                    environment={MARK: self.mark},
                )
                self.process = launched.process
            if not launched.wait():
                raise KernelUnavailableError(home=str(self.home.state_dir))
        return self.process.pid

    def kill(self) -> int:
        """SIGKILL it; return its pid. Its agents live on."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        return self.process.pid

    def stop(self) -> None:
        """Stop it and its agents in order; by force if that takes too long, or it is dead.

        A signal that ends the program waits until that is done.
        """
        if self.process is not None:
            with signals_held():
                self._stop(self.process)

    def _stop(self, process: subprocess.Popen[bytes]) -> None:
        try:
            process.terminate()
            if process.wait(STOP_TIMEOUT_S) == 0:
                return
        except subprocess.TimeoutExpired:
            self.kill()
        self._end_agents()

    def _end_agents(self) -> None:
        """SIGKILL what kernels have left; without one, agents would wait for the next.

        Until there is none: what started an agent for the dead kernel may just be about to.
        """
        while found := [process for process in psutil.process_iter() if self._has(process)]:
            for process in found:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(found, STOP_TIMEOUT_S)

    def _has(self, process: psutil.Process) -> bool:
        try:
            return bool(process.environ().get(MARK) == self.mark)
        except psutil.Error:  # it is gone, or another user's
            return False


@dataclass(slots=True)
class Tally:
    """A kernel's counters, added up over the kernels that followed each other in one home.

    What a kernel counts between the last ``collect`` and its death is missing: the sums can be
    too low, never too high.
    """

    counters: dict[str, int] = field(default_factory=dict)
    _epoch: dict[str, int] = field(default_factory=dict)

    def collect(self, client: Client) -> None:
        """Add what the present kernel has counted since the last time."""
        now: dict[str, Any] = client.system("statistics")
        for name, value in now.items():
            gained = value - self._epoch.get(name, 0)
            self.counters[name] = self.counters.get(name, 0) + gained
        self._epoch = now

    def begin_epoch(self) -> None:
        """Another kernel has started; it counts from zero."""
        self._epoch = {}

    def get(self, name: str) -> int:
        """Return a sum; 0 for what was never counted."""
        return self.counters.get(name, 0)


def check_letters(client: Operator) -> None:
    """Raise StalledError if the kernel has given up a message: what waits for it waits for ever."""
    for letter in client.system("dead_letters", limit=1):
        why = first_line(letter["error"]) or letter["reason"]
        raise StalledError(f"a message to {letter['receiver_name']} was given up: {why}")


@dataclass(slots=True)
class Patience:
    """Watches that something goes on."""

    limit_s: float
    _last: Any = None
    _advanced_at: float = field(default_factory=time.monotonic)

    def note(self, seen: Any) -> None:
        """Take what is seen now. Raises StalledError: it is the same for ``limit_s``."""
        if seen != self._last:
            self._last, self._advanced_at = seen, time.monotonic()
        elif time.monotonic() - self._advanced_at > self.limit_s:
            raise StalledError(f"no progress for {self.limit_s:.0f} s at {seen}")
