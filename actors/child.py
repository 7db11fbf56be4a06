"""What a freshly forked child does to become an agent: its session, log, limits, path.

What it is not: the agent itself (actors/process.py), or the forking (actors/zygote.py).
Nothing here returns: whatever happens, the child ends in ``os._exit``.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import resource
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import NoReturn

from actors.process import run_agent
from actors.user_path import extend_user_path
from ipc.ids import short
from ipc.protocol import RLIMITS, SpawnSpec
from ipc.start import GroupRecipe, StartRequest, agent_marker

EXIT_NO_START = 71  # the child could not become an agent; its log tells why

_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_ARG_START, _ARG_END = 45, 46  # of /proc/self/stat, counted after the name
_NUMBERS = (
    resource.RLIMIT_CPU,
    resource.RLIMIT_NOFILE,
    resource.RLIMIT_AS,
    resource.RLIMIT_NPROC,
)
_RLIMITS = dict(zip(RLIMITS, _NUMBERS, strict=True))

_libc = ctypes.CDLL(None, use_errno=True)


def become_agent(request: StartRequest) -> NoReturn:
    """Turn this process into the agent, run it, and end."""
    code = EXIT_NO_START
    try:
        _leave_zygote(request.log_path)
        if request.group is not None:
            enter_group(request.group)
        _enter_place(request)
        code = _run(request)
    except BaseException:  # the boundary: nothing may return into the zygote's loop
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        with contextlib.suppress(Exception):
            sys.stderr.flush()
        os._exit(code)


def become_subreaper() -> None:
    """Get the orphans among this process's descendants as children, in place of init."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _leave_zygote(log_path: str) -> None:
    """Take a session, default signals, and no descriptors but the log."""
    os.setsid()
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.closerange(3, 1 << 30)  # one system call (close_range)
    sys.stdout = open(1, "w", buffering=1, encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
    sys.__stdout__, sys.__stderr__ = sys.stdout, sys.stderr  # type: ignore[misc]
    become_subreaper()


def enter_group(recipe: GroupRecipe) -> None:
    """Make the agent's control group and enter it; its log tells if that cannot be.

    Cost: the operating system makes the process wait, some milliseconds.
    """
    directory = Path(recipe["directory"])
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in recipe["files"].items():
            (directory / name).write_text(text)
        (directory / "cgroup.procs").write_text("0")
    except OSError as error:
        problem = f"limits are not kept by control group {directory}: {error.strerror}"
        print(f"llmos: {problem}", file=sys.stderr)


def _enter_place(request: StartRequest) -> None:
    """Take the spec's directory, environment, module path, limits, and a name for ps."""
    spec = request.spec
    cwd = spec.get("cwd") or "/"
    os.chdir(cwd)
    os.environ.update(spec.get("environment") or {})
    name, _, value = agent_marker(request.actor, request.incarnation, request.home).partition("=")
    os.environ[name] = value
    extend_user_path(spec.get("sys_path") or (), cwd)
    _set_limits(spec)
    _set_title(request)


def _run(request: StartRequest) -> int:
    """Run the agent to its end, and what it registered for the end."""
    try:
        result = run_agent(request)
        code = result if isinstance(result, int) else 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    threading._shutdown()  # type: ignore[attr-defined]  # wait for threads that are no daemons
    atexit._run_exitfuncs()
    return code


def _set_limits(spec: SpawnSpec) -> None:
    for name, value in (spec.get("rlimits") or {}).items():
        _, hard = resource.getrlimit(_RLIMITS[name])
        if hard != resource.RLIM_INFINITY:
            value = min(value, hard)
        # Where both limits are reached at once it is SIGKILL that comes, and does not say why.
        most = value + 1 if name == "cpu_s" and value != hard else value
        resource.setrlimit(_RLIMITS[name], (value, most))


def _set_title(request: StartRequest) -> None:
    """Show the actor's name in ps: as command and as command line. Failing, do nothing."""
    _libc.prctl(_PR_SET_NAME, request.name.encode()[:15], 0, 0, 0)
    with contextlib.suppress(OSError, ValueError, IndexError):
        data = Path("/proc/self/stat").read_bytes()
        fields = data[data.rindex(b")") + 2 :].split()
        start, end = int(fields[_ARG_START]), int(fields[_ARG_END])
        title = f"llmos agent {request.name} ({short(request.actor)})".encode()
        if 0 < start < end:
            # SAFETY: [start, end) is this process's own argument area, writable, and argv is
            # not read again after the interpreter's start.
            room = end - start
            ctypes.memmove(start, title[: room - 1].ljust(room, b"\0"), room)
