"""``python -m bench``, which is ``llmos bench``: measure this machine and print what came out.

Every figure is a median of runs that alternate with those of its floor, in kernels and processes
of the bench's own, in temporary homes. bench/README.md explains each figure.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sqlite3
import sys
from importlib.util import find_spec
from pathlib import Path

import zmq
from rich.console import Console

from bench.effort import FULL, QUICK
from bench.goals import verdict
from bench.plot import draw
from bench.report import print_json, print_table
from bench.suite import ALL_NAMES, QUICK_NAMES, run


def main() -> int:
    """Run the benches that the command line asks for."""
    if sys.argv[1:2] == ["llm"]:
        # Imported here: its peers need torch, which is optional.
        from bench.llm import main as main_llm

        return main_llm(sys.argv[2:])
    parser = make_parser()
    options = parser.parse_args()
    wanted = frozenset(options.only or (QUICK_NAMES if options.quick else ALL_NAMES))
    if unknown := wanted - set(ALL_NAMES):
        parser.error(f"no figure {', '.join(sorted(unknown))}; there are {', '.join(ALL_NAMES)}")
    if options.plot and not find_spec("matplotlib"):
        parser.error("--plot needs matplotlib: pip install 'llmos[plot]'")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # and stop all kernels
    with Console(stderr=True).status("starting") as status:
        found = list(run(QUICK if options.quick else FULL, wanted, status.update))
    if options.plot:
        draw(found, options.plot)
    if options.json:
        print_json(found)
    else:
        print_table(f"llmos bench on {machine()}", found, verdict=verdict)
    return 0


def make_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        prog="llmos bench",
        description="Measure this machine: round trips, throughput, spawn, memory, recovery.",
        epilog="Example: llmos bench --quick --plot bench.png; `llmos bench llm`",
    )
    parser.add_argument("--quick", action="store_true", help="without the 500 agents, within 40 s")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--plot", metavar="FILE", type=Path, help="draw the ratios, as a PNG")
    parser.add_argument(
        "--only",
        metavar="NAME,...",
        type=lambda text: [name for name in text.split(",") if name],
        help="only these figures",
    )
    return parser


def machine() -> str:
    """Return in one line what the figures depend on."""
    cpus = len(os.sched_getaffinity(0))
    return (
        f"{cpus} CPUs, Linux {platform.release()}, Python {platform.python_version()}, "
        f"libzmq {zmq.zmq_version()}, SQLite {sqlite3.sqlite_version}"
    )


if __name__ == "__main__":
    sys.exit(main())
