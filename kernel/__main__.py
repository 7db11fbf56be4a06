"""The kernel process: ``python -m kernel --home DIR``.

Puts the parts together, says that it listens, turns the loop, and takes the parts down. Exit
statuses are ipc/kernel_exit.py. The one broad ``except`` of the kernel is here: what nobody
expected is logged, and ends the process before anything of that loop turn has left.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import sys
from contextlib import ExitStack, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import zmq

from ipc.auth import ensure_operator_token
from ipc.clock import SystemClock
from ipc.errors import (
    BadConfigError,
    BadHomeError,
    BadRecordError,
    CorruptionError,
    HomeInUseError,
    JournalWriteError,
    LLMOSError,
    TokenFileError,
    UsageError,
)
from ipc.home import DEFAULT_NAME, Home, home_at, named_home
from ipc.kernel_exit import KernelExit
from ipc.start import agent_marker
from kernel.config import KernelConfig, load_config
from kernel.core import Core
from kernel.daemon import Daemon, TendedJournal, free_bytes_of, rss_bytes
from kernel.host.edge import Edge
from kernel.host.home import hold_home
from kernel.host.launcher import Launcher
from kernel.host.logs import IS_SAID, configure_logs
from kernel.host.signals import Signals
from kernel.host.structured_log import structlog
from kernel.host.trace_file import TraceFile
from kernel.host.watcher import Watcher
from kernel.host.zygote_link import ZygoteLink
from kernel.journal.in_memory import MemoryJournal
from kernel.journal.journal import SqliteJournal
from kernel.resources.agent_groups import open_groups
from kernel.resources.enforcement import Enforcement
from kernel.resources.gpus import Gpus, load_nvml
from kernel.resources.monitor import Monitor
from kernel.resources.node_sampler import NodeSampler
from kernel.resources.process_sampler import ProcessSampler

# Envelopes come and go by reference count; the collector is only for rare cycles.
_GC_THRESHOLDS = (50_000, 20, 100)

_MEND = (
    "nothing was changed: restore the journal from a copy, or begin anew with another --home; "
    "a row that you delete from its table is forgotten, and nothing else"
)

log = structlog.get_logger(__name__)


def main() -> int:
    """Run a kernel. Returns the exit status."""
    options = _parser().parse_args()
    user_umask = os.umask(0o077)
    try:
        home = home_at(options.home) if options.home else named_home(options.name)
        config = _config_of(options, home)
        return int(_run(home, config, options.ready_fd, user_umask))
    except LLMOSError as error:
        with suppress(OSError):  # where the disk is full, the exit status must say it
            _say(error)
        return int(_status_of(error))
    except Exception:
        if structlog.is_configured():
            log.exception("kernel_bug")
        sys.excepthook(*sys.exc_info())
        return int(KernelExit.BUG)


def _say(error: LLMOSError) -> None:
    print(f"llmos kernel: {error}", file=sys.stderr, flush=True)
    if isinstance(error, BadRecordError):
        print(f"hint:  {_MEND}", file=sys.stderr, flush=True)
    if structlog.is_configured():
        log.error("kernel_ended", error=str(error), code=error.code, **{IS_SAID: True})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m kernel", description="Run an LLMOS kernel.")
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--home", metavar="DIR", help="keep everything under this directory")
    place.add_argument("--name", default=DEFAULT_NAME, help="which of the user's kernels")
    parser.add_argument("--config", metavar="FILE", type=Path, help="settings, TOML")
    parser.add_argument("--durability", choices=["process", "power", "none"])
    parser.add_argument(
        "--ready-fd", metavar="N", type=int, help="write one JSON line there when it listens"
    )
    return parser


def _config_of(options: argparse.Namespace, home: Home) -> KernelConfig:
    path = options.config
    if path is None and home.config.exists():
        path = home.config
    return load_config(path, durability=options.durability)


def _run(home: Home, config: KernelConfig, ready_fd: int | None, user_umask: int) -> KernelExit:
    with ExitStack() as parts:
        lock = hold_home(home)
        parts.callback(lock.release)
        configure_logs(home.kernel_log, config.log_level)
        watcher = Watcher()
        parts.callback(watcher.close)
        link = ZygoteLink(
            watcher, home, config.orphan_grace_s, lease_s=config.lease_s, umask=user_umask
        )
        clock = SystemClock()
        enforcement = _make_enforcement(home, config)
        launcher = Launcher(
            watcher,
            link,
            marker=lambda actor, incarnation: agent_marker(actor, incarnation, str(home.state_dir)),
            monotonic_ns=clock.monotonic_ns,
            enforcement=enforcement,
        )
        parts.callback(launcher.close)
        link.warm_up()  # it imports while the journal is read
        _pause_gc()
        journal = _open_journal(home, config, clock)
        parts.callback(journal.close)
        core = _make_core(home, config, journal, clock, enforcement)
        edge = _listen(home, config)
        parts.callback(edge.close)
        monitor = _make_monitor(home, clock)
        parts.callback(monitor.close)
        first = monitor.look(())  # so that what there is can be reserved from the start
        if first is not None:
            core.sampled(first)
        trace = TraceFile()
        parts.callback(trace.close)
        daemon = Daemon(
            core,
            journal=journal,
            edge=edge,
            launcher=launcher,
            watcher=watcher,
            clock=clock,
            free_bytes=lambda: free_bytes_of(home.state_dir),
            monitor=monitor,
            trace=trace,
        )
        signals = Signals(watcher, shutdown=daemon.request_shutdown, leave=daemon.leave)
        parts.callback(signals.close)
        _calm_gc()
        log.info("kernel_listens", endpoint=home.endpoint, epoch=journal.epoch, pid=os.getpid())
        _say_ready(ready_fd, home)
        daemon.run()
        log.info("kernel_ended", interrupted=signals.was_interrupted)
        return KernelExit.INTERRUPTED if signals.was_interrupted else KernelExit.DONE


def _open_journal(home: Home, config: KernelConfig, clock: SystemClock) -> TendedJournal:
    if config.durability == "none":
        return MemoryJournal(generation=clock.wall_ns())
    return SqliteJournal(home.journal, home.payloads, durability=config.durability)


def _make_core(
    home: Home,
    config: KernelConfig,
    journal: TendedJournal,
    clock: SystemClock,
    enforcement: Enforcement,
) -> Core:
    return Core(
        config,
        journal.load(),
        generation=journal.generation,
        epoch=journal.epoch,
        rng=random.SystemRandom(),
        operator_token=ensure_operator_token(home.operator_token),
        monotonic_ns=clock.monotonic_ns(),
        wall_ns=clock.wall_ns(),
        log_path=lambda actor, name: str(home.log_path(actor, name)),
        facts=lambda: _facts(config, journal, enforcement),
    )


def _make_monitor(home: Home, clock: SystemClock) -> Monitor:
    gpus = Gpus(load_nvml())
    return Monitor(
        NodeSampler(home.state_dir, gpus, clock.monotonic_ns),
        ProcessSampler(),
        gpu_bytes=gpus.bytes_by_pid,
        monotonic_ns=clock.monotonic_ns,
    )


def _make_enforcement(home: Home, config: KernelConfig) -> Enforcement:
    is_root, is_for_all = os.geteuid() == 0, config.control_groups == "all"
    if config.control_groups == "off":
        return Enforcement(None, "control groups are switched off", is_root=is_root)
    try:
        groups = open_groups(home.tag)
    except OSError as error:
        return Enforcement(None, f"no control groups: {error.strerror}", is_root=is_root)
    return Enforcement(groups, is_for_all=is_for_all, is_root=is_root)


def _facts(
    config: KernelConfig, journal: TendedJournal, enforcement: Enforcement
) -> dict[str, Any]:
    """Return what ``llmos status`` shows and only this process knows."""
    return {
        "pid": os.getpid(),
        "version": _version(),
        "durability": config.durability,
        "enforcement": enforcement.describe(),
        "journal_bytes": journal.size_bytes(),
        "rss_bytes": rss_bytes(),
    }


def _version() -> str:
    try:
        return version("llmos")
    except PackageNotFoundError:  # run from a checkout
        return "checkout"


def _listen(home: Home, config: KernelConfig) -> Edge:
    try:
        return Edge(home.endpoint, max_payload=config.payload_bytes)
    except zmq.ZMQError as error:
        raise BadHomeError(home=str(home.socket), problem=str(error)) from None


def _pause_gc() -> None:
    """Collect what imports have left; recovery makes only what stays, and needs no collections."""
    gc.collect()
    gc.disable()


def _calm_gc() -> None:
    """Leave what recovery made out of collections, and make collections rare."""
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
    gc.enable()


def _say_ready(ready_fd: int | None, home: Home) -> None:
    if ready_fd is None:
        return
    line = json.dumps({"pid": os.getpid(), "endpoint": home.endpoint}) + "\n"
    os.write(ready_fd, line.encode())
    os.close(ready_fd)


def _status_of(error: LLMOSError) -> KernelExit:
    match error:
        case HomeInUseError():
            return KernelExit.HOME_IN_USE
        case BadHomeError() | TokenFileError():
            return KernelExit.BAD_HOME
        case JournalWriteError():
            return KernelExit.JOURNAL_WRITE
        case CorruptionError():
            return KernelExit.BAD_JOURNAL
        case BadConfigError() | UsageError():
            return KernelExit.USAGE
        case _:
            return KernelExit.BUG


if __name__ == "__main__":
    sys.exit(main())
