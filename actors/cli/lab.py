"""The command `lab`: runs ``python -m bench.lab`` as a process and hands every option to it."""

from __future__ import annotations

import subprocess

import typer

from actors.cli.guard import guarded
from ipc.start import own_python


@guarded
def lab(ctx: typer.Context) -> None:
    """Replay traffic under scheduling policies on a virtual clock: run, advise, programs.

    All options go to the lab; `llmos lab run --help` lists them. No kernel is needed. Example:
    llmos lab run trace.jsonl --policy fcfs,least_attained --load 0.9
    """
    raise typer.Exit(subprocess.call(own_python("bench.lab.__main__", *ctx.args)))
