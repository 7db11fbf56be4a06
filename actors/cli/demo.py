"""The command `demo`: agents at work while the demo kills them, the engine and the kernel.

It runs in a temporary home, shows what it does, and ends with a table and a check. There are
two: a customer service that asks a language model (actors/cli/demo_service.py), and an index of
Python files that needs none (actors/cli/demo_index.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from actors.cli.demo_index import print_index, run_index
from actors.cli.demo_kernel import StalledError, own_home
from actors.cli.demo_model import demo_model, missing_for_service
from actors.cli.demo_service import TICKETS, print_service, run_service
from actors.cli.exits import Exit
from actors.cli.guard import guarded
from actors.cli.options import HomeOption, JsonOption, NameOption
from actors.cli.render import print_json
from ipc.errors import UsageError
from ipc.llm import ModelSpec


@guarded
def demo(
    index: Annotated[
        bool, typer.Option("--index", help="Index Python files; needs no language model.")
    ] = False,
    tickets: Annotated[
        int, typer.Option("--tickets", metavar="N", min=1, help="Tickets to solve.")
    ] = TICKETS,
    model: Annotated[
        Path | None,
        typer.Option("--model", metavar="DIR", help="Folder of another language model."),
    ] = None,
    endpoint: Annotated[
        str | None,
        typer.Option("--endpoint", metavar="URL", help="Ask an OpenAI-compatible API instead."),
    ] = None,
    remote_model: Annotated[
        str | None,
        typer.Option("--remote-model", metavar="NAME", help="The endpoint's name for its model."),
    ] = None,
    key_env: Annotated[
        str | None,
        typer.Option("--key-env", metavar="VARIABLE", help="Variable that holds its key."),
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option("--root", metavar="DIR", help="With --index: not the standard library."),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the temporary home.")] = False,
    home: HomeOption = None,
    name: NameOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a customer service; kill an agent, the engine and the kernel; lose nothing.

    It has a kernel of its own, in a temporary home (or a fresh --home).

    Example: llmos demo --endpoint http://127.0.0.1:8000/v1 --remote-model llama
    """
    if name is not None:
        raise UsageError(reason="the demo has a kernel of its own: give --home, or nothing")
    if root is not None and not index:
        raise UsageError(reason="--root is a folder to index: give --index, too")
    spec = demo_model(model, endpoint, remote_model, key_env)
    if spec is not None and index:
        raise UsageError(reason="--index needs no language model: leave the model's options out")
    missing = None if index else missing_for_service(spec)
    if missing:
        typer.echo(f"{missing}\nhere is the demo that needs no language model", err=True)
    try:
        with own_home(home, keep=keep) as place:
            is_fine = (
                _index(root, place, as_json=as_json)
                if index or missing
                else _service(tickets, spec, place, as_json=as_json)
            )
    except StalledError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(Exit.FAILED) from None
    if not is_fine:
        raise typer.Exit(Exit.FAILED)


def _index(root: Path | None, place: Path, *, as_json: bool) -> bool:
    outcome = run_index(root, place, as_json=as_json)
    (print_json if as_json else print_index)(outcome)
    return bool(outcome["equal"])


def _service(tickets: int, spec: ModelSpec | None, place: Path, *, as_json: bool) -> bool:
    outcome = run_service(tickets, spec, place, as_json=as_json)
    (print_json if as_json else print_service)(outcome)
    return not outcome["problems"]
