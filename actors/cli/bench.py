"""The command `bench`: runs ``python -m bench`` as a process and hands every option to it."""

from __future__ import annotations

import subprocess

import typer

from actors.cli.guard import guarded
from ipc.start import own_python


@guarded
def bench(ctx: typer.Context) -> None:
    """Measure this machine: round trips, throughput, spawn, recovery, beside raw floors.

    All options go to the bench: --quick, --json, --plot FILE ... `llmos bench --help` lists
    them. It starts kernels of its own in temporary homes. Example: llmos bench --quick
    """
    raise typer.Exit(subprocess.call(own_python("bench.__main__", *ctx.args)))
