"""What `llmos doctor` looks at: each check is a function that returns one finding, or raises.

Promise: a check changes nothing that lasts: what it writes it removes. A check that itself
breaks is reported as failed, and the others still run.
"""

from __future__ import annotations

import os
import resource
import sqlite3
import stat
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from ipc.home import Home
from ipc.start import PACKAGE_ROOT

OUR_PACKAGES = ("actors", "kernel", "ipc", "ext", "bench", "examples")
MIN_PYTHON = (3, 11)
MIN_SQLITE = (3, 35, 0)  # RETURNING, and WAL fixes of 2021
LOW_DISK_BYTES = 1 << 30
FULL_DISK_BYTES = 64 << 20  # the kernel's own mark (kernel/config.py, free_space_mark_bytes)
LOW_FILES = 4096
LOW_PROCESSES = 1024
REMOTE_FILE_SYSTEMS = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs"})

State = Literal["ok", "warning", "failed"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found, and what a person can do about it."""

    check: str
    state: State
    detail: str
    remedy: str | None = None


Check = Callable[[Home], Finding]


def python_version(_: Home) -> Finding:
    """Is the interpreter new enough?"""
    version = ".".join(map(str, sys.version_info[:3]))
    detail = f"{version}, {sys.executable}"
    if sys.version_info[:2] < MIN_PYTHON:
        return Finding("python", "failed", detail, "install Python 3.11 or newer")
    return Finding("python", "ok", detail)


def extension(_: Home) -> Finding:
    """Can the compiled parts be loaded?"""
    # Imported here: whether this works is the question.
    try:
        import ext.wire as wire
    except ImportError as error:
        remedy = f"in {PACKAGE_ROOT}: python setup.py build_ext --inplace (needs a C compiler)"
        return Finding("extension", "failed", str(error), remedy)
    return Finding("extension", "ok", str(wire.__file__))


def sqlite(_: Home) -> Finding:
    """Is SQLite new enough?"""
    if sqlite3.sqlite_version_info < MIN_SQLITE:
        remedy = f"use a Python built with SQLite {'.'.join(map(str, MIN_SQLITE))} or newer"
        return Finding("sqlite", "failed", sqlite3.sqlite_version, remedy)
    return Finding("sqlite", "ok", sqlite3.sqlite_version)


def journal(home: Home) -> Finding:
    """Does the write-ahead log work where the journal is?"""
    directory = existing_parent(home.state_dir)
    with tempfile.TemporaryDirectory(prefix=".llmos-doctor-", dir=directory) as folder:
        database = sqlite3.connect(Path(folder) / "probe.db")
        try:
            (mode,) = database.execute("PRAGMA journal_mode=WAL").fetchone()
        finally:
            database.close()
    kind = file_system(directory)
    if mode != "wal" or kind in REMOTE_FILE_SYSTEMS:
        remedy = "choose a --home on a local disk: SQLite's log needs shared memory"
        return Finding("journal", "failed", f"{directory} is {kind}, mode {mode}", remedy)
    return Finding("journal", "ok", f"write-ahead log works on {kind}")


def disk(home: Home) -> Finding:
    """Is there room for the journal?"""
    free = psutil.disk_usage(str(existing_parent(home.state_dir))).free
    detail = f"{free >> 20} MiB free for {home.state_dir}"
    if free < FULL_DISK_BYTES:
        return Finding("disk", "failed", detail, "free some space: sends are refused below it")
    if free < LOW_DISK_BYTES:
        return Finding("disk", "warning", detail, "free some space before the journal needs it")
    return Finding("disk", "ok", detail)


def permissions(home: Home) -> Finding:
    """May we write there, and can nobody else read the token?"""
    directory = existing_parent(home.state_dir)
    if not os.access(directory, os.W_OK | os.X_OK):
        remedy = f"make {directory} yours, or give another --home"
        return Finding("permissions", "failed", f"{directory} cannot be written", remedy)
    for path in (home.operator_token, home.state_dir):
        if path.exists() and _is_open_to_others(path):
            remedy = f"chmod go= {path}"
            return Finding("permissions", "warning", f"others can reach {path}", remedy)
    return Finding("permissions", "ok", str(home.state_dir))


def open_files(_: Home) -> Finding:
    """How many descriptors may the kernel have?"""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    detail = f"{_limit(soft)} per process, at most {_limit(hard)}"
    if soft != resource.RLIM_INFINITY and soft < LOW_FILES:
        return Finding("open files", "warning", detail, f"ulimit -n {LOW_FILES} or more")
    return Finding("open files", "ok", detail)


def processes(_: Home) -> Finding:
    """How many processes may there be?"""
    limits = {"user": resource.getrlimit(resource.RLIMIT_NPROC)[0], "cgroup": cgroup_processes()}
    known = {
        key: value
        for key, value in limits.items()
        if value is not None and value != resource.RLIM_INFINITY
    }
    detail = ", ".join(f"{key} {value}" for key, value in known.items()) or "no limit"
    if min(known.values(), default=LOW_PROCESSES) < LOW_PROCESSES:
        remedy = "raise `ulimit -u` or the container's pids limit: each agent is a process"
        return Finding("processes", "warning", detail, remedy)
    return Finding("processes", "ok", detail)


def shadows(_: Home) -> Finding:
    """Does a folder of the user's have the name of one of our packages?"""
    clashes = clashing_paths([Path.cwd(), *python_path()])
    if clashes:
        text = ", ".join(map(str, clashes))
        remedy = "agents import LLMOS's package by that name; rename yours if they need it"
        return Finding("names", "warning", f"same name as a package of LLMOS: {text}", remedy)
    return Finding("names", "ok", "no folder here is called like a package of LLMOS")


def clashing_paths(directories: list[Path]) -> list[Path]:
    """Return folders and modules there that have the name of a package of ours."""
    ours = {Path(PACKAGE_ROOT), Path(sysconfig.get_paths()["purelib"])}
    return [
        path
        for directory in dict.fromkeys(directories)
        if directory.resolve() not in ours and directory.is_dir()
        for name in OUR_PACKAGES
        for path in (directory / name, directory / f"{name}.py")
        if path.exists() and (path.is_file() or _holds_python(path))
    ]


def python_path() -> list[Path]:
    """Return the directories of PYTHONPATH."""
    return [Path(word) for word in os.environ.get("PYTHONPATH", "").split(os.pathsep) if word]


def existing_parent(path: Path) -> Path:
    """Return the path, or its nearest ancestor that exists."""
    return next(one for one in (path, *path.parents) if one.exists())


def file_system(path: Path) -> str:
    """Return the type of the file system that holds the path."""
    resolved = path.resolve()
    mounts = [
        part
        for part in psutil.disk_partitions(all=True)
        if resolved.is_relative_to(part.mountpoint)
    ]
    return str(max(mounts, key=lambda part: len(part.mountpoint)).fstype) if mounts else "unknown"


def cgroup_processes(root: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Return the limit of processes of our control group, None if there is none."""
    for path in (root / "pids.max", root / "pids" / "pids.max"):
        text = path.read_text().strip() if path.is_file() else "max"
        if text.isdecimal():
            return int(text)
    return None


def _holds_python(path: Path) -> bool:
    return path.is_dir() and next(path.glob("*.py"), None) is not None


def _is_open_to_others(path: Path) -> bool:
    return bool(path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO))


def _limit(value: int) -> str:
    return "unlimited" if value == resource.RLIM_INFINITY else str(value)
