"""Checks of `llmos doctor` that need sockets and processes: kernel, stale socket, a spawn."""

from __future__ import annotations

import subprocess
import tempfile
import time
from pathlib import Path

from actors.cli.checks import Finding
from actors.cli.connection import Where, open_client
from actors.cli.kernel_process import start_kernel
from ipc.control_groups import CONTROLLERS, bound_to_version_1, usable_controllers
from ipc.errors import LLMOSError
from ipc.home import Home, home_at
from ipc.running import running_pid
from ipc.start import PACKAGE_ROOT

PROBE_TIMEOUT_S = 3.0
STOP_TIMEOUT_S = 10.0
SLOW_SPAWN_MS = 200.0


def kernel(home: Home) -> Finding:
    """Does a kernel run there, and does it answer?"""
    if running_pid(home) is None:
        return Finding("kernel", "ok", "none is running; `llmos up` starts one")
    try:
        with open_client(Where(home.state_dir), PROBE_TIMEOUT_S) as client:
            status = client.system("status")
    except LLMOSError as error:
        return Finding("kernel", "failed", str(error), f"look at {home.kernel_log}")
    return Finding("kernel", "ok", f"running, process {status['pid']}, {status['actors']} agents")


def limits(home: Home) -> Finding:
    """How are CPU weights and limits of agents kept?"""
    if running_pid(home) is not None:
        with open_client(Where(home.state_dir), PROBE_TIMEOUT_S) as client:
            found = str(client.system("resources")["enforcement"])
        is_whole = found.startswith("control groups") and "rest" not in found
    else:
        controllers = usable_controllers()
        is_whole = set(CONTROLLERS) <= controllers
        found = f"control groups ({', '.join(sorted(controllers))})"
        if not controllers:
            found = "rlimits and niceness: no controllers of control groups are ours here"
    remedy = "for CPU limits: systemd-run --user --scope -p Delegate=yes llmos up, or as root"
    if old := sorted(bound_to_version_1()):
        remedy = (
            f"{', '.join(old)} are mounted as control groups of version 1, LLMOS uses version 2: "
            "boot with systemd.unified_cgroup_hierarchy=1"
        )
    return Finding("limits", "ok", found, None if is_whole else remedy)


def stale_socket(home: Home) -> Finding:
    """Is there a socket that nobody listens on?"""
    if not home.socket.exists():
        return Finding("socket", "ok", "none")
    if running_pid(home) is None:
        remedy = "`llmos up` removes it"
        return Finding("socket", "warning", f"{home.socket} is left by a dead kernel", remedy)
    return Finding("socket", "ok", str(home.socket))


def process_start(_: Home) -> Finding:
    """Can a kernel start here, spawn an agent and get its answer?"""
    with tempfile.TemporaryDirectory(prefix="llmos-doctor-") as folder:
        started = start_kernel(home_at(folder), output=subprocess.PIPE, own_session=True)
        try:
            if not started.is_ready:
                text = started.process.communicate(timeout=STOP_TIMEOUT_S)[0].decode()
                return Finding("spawn", "failed", text.strip()[-500:])
            return _spawn_and_ask(Path(folder))
        finally:
            _end(started.process)


def _spawn_and_ask(folder: Path) -> Finding:
    with open_client(Where(folder), PROBE_TIMEOUT_S) as client:
        client.system("status")
        begin = time.perf_counter()
        probe = client.spawn(f"{PACKAGE_ROOT}/actors/cli/probe.py:Probe", name="probe")
        answer = probe.ping()
        elapsed_ms = (time.perf_counter() - begin) * 1e3
    if answer != "pong":
        return Finding("spawn", "failed", f"the agent answered {answer!r}")
    detail = f"an agent answered {elapsed_ms:.0f} ms after its spawn"
    if elapsed_ms < SLOW_SPAWN_MS:
        return Finding("spawn", "ok", detail)
    remedy = "a kernel's first agent waits for imports; if later ones do too, the machine is busy"
    return Finding("spawn", "warning", detail, remedy)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout:
        process.stdout.close()
