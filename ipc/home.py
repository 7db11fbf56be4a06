"""Where a kernel keeps its things, as paths; the same computation for kernel and clients.

What it is not: it touches no file (kernel/host/home.py makes, checks and locks the directories).

A home is a kernel's identity on a machine. By name (several run side by side), after XDG:

    state    $XDG_STATE_HOME/llmos/NAME     journal, payloads, lock, token, configuration, socket
    logs     STATE/logs                     kernel.log, one file per actor

With ``--home DIR`` everything is under DIR. A socket path has at most 107 bytes; where the
natural one is longer, it is a hash of it under /tmp/llmos-UID.

The socket follows from the state directory alone, never from $XDG_RUNTIME_DIR: that is unset in
cron jobs and containers and goes at logout, while a kernel and its agents stay. Whoever has the
state directory, from whatever environment, finds the kernel; so does an agent the next kernel.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ipc.errors import UsageError
from ipc.ids import short

MAX_SOCKET_PATH = 107  # bytes: sun_path of AF_UNIX has 108, one is the final NUL
DEFAULT_NAME = "default"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class Home:
    """The paths of one kernel."""

    name: str
    state_dir: Path
    socket_dir: Path

    @property
    def journal(self) -> Path:
        """The SQLite file."""
        return self.state_dir / "journal.db"

    @property
    def payloads(self) -> Path:
        """Directory of large payloads, beside the journal."""
        return self.state_dir / "payloads"

    @property
    def lock(self) -> Path:
        """Locked while a kernel runs; holds its pid."""
        return self.state_dir / "kernel.pid"

    @property
    def operator_token(self) -> Path:
        """File with the token of clients that may do everything; readable by the owner."""
        return self.state_dir / "operator.token"

    @property
    def tag(self) -> str:
        """What tells this home from the machine's others, in names that all share."""
        return hashlib.sha256(os.fsencode(self.state_dir)).hexdigest()[:12]

    @property
    def config(self) -> Path:
        """The configuration read when none is named."""
        return self.state_dir / "config.toml"

    @property
    def logs(self) -> Path:
        """Directory of all log files."""
        return self.state_dir / "logs"

    @property
    def kernel_log(self) -> Path:
        """The kernel's own log, JSON lines."""
        return self.logs / "kernel.log"

    @property
    def socket(self) -> Path:
        """The socket on which the kernel listens."""
        return self.socket_dir / "kernel.sock"

    @property
    def endpoint(self) -> str:
        """The socket as ZeroMQ names it."""
        return f"ipc://{self.socket}"

    def log_path(self, actor: int, name: str) -> Path:
        """File that gets the actor's output; the id keeps equal-looking names apart."""
        return self.logs / f"{_UNSAFE.sub('_', name)[:80]}-{short(actor)}.log"


def named_home(name: str = DEFAULT_NAME, environment: Mapping[str, str] | None = None) -> Home:
    """Return the home of the kernel called ``name``, in the user's XDG state directory.

    Raises:
        UsageError: the name cannot be a directory's.
    """
    env = os.environ if environment is None else environment
    if not _NAME.fullmatch(name):
        raise UsageError(reason=f"a kernel's name is letters, digits, '.', '_', '-', not {name!r}")
    state = _directory(env, "XDG_STATE_HOME") or _user_home(env) / ".local" / "state"
    return _home(name, state / "llmos" / name)


def home_at(directory: str | Path) -> Home:
    """Return the home that keeps everything under ``directory``."""
    state_dir = Path(directory).expanduser()
    return _home(state_dir.resolve().name, state_dir)


def _home(name: str, directory: Path) -> Home:
    state_dir = directory.resolve()
    return Home(name, state_dir, _socket_dir(state_dir))


def _directory(env: Mapping[str, str], variable: str) -> Path | None:
    """Return an XDG directory; the standard says that relative ones are ignored."""
    value = env.get(variable, "")
    return Path(value) if value.startswith("/") else None


def _user_home(env: Mapping[str, str]) -> Path:
    return Path(env["HOME"]) if env.get("HOME") else Path.home()


def _socket_dir(state_dir: Path) -> Path:
    if len(os.fsencode(state_dir / "kernel.sock")) <= MAX_SOCKET_PATH:
        return state_dir
    digest = hashlib.sha256(os.fsencode(state_dir)).hexdigest()[:16]
    return Path(f"/tmp/llmos-{os.getuid()}") / digest
