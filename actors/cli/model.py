"""The commands `model add`, `ls`, `use`, `load`, `rm`: the language models a kernel knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from actors.cli.connection import Where, open_client
from actors.cli.guard import guarded, summary
from actors.cli.llm_options import complete_model
from actors.cli.loading import load_with_progress
from actors.cli.model_options import with_spec
from actors.cli.options import HomeOption, JsonOption, NameOption
from actors.cli.render import Column, print_json, print_table
from ipc.errors import from_wire

app = typer.Typer(no_args_is_help=True, help="Language models: add, list, choose, load, remove.")


STATE_STYLES = {"ready": "green", "loading": "yellow", "failed": "red"}
ModelArgument = Annotated[
    str, typer.Argument(help="NAME or NAME@VERSION.", autocompletion=complete_model)
]


def _millions(row: Mapping[str, Any]) -> str | None:
    parameters = row["facts"].get("parameters")
    return None if parameters is None else f"{parameters / 1e6:.1f}M"


def _state(row: Mapping[str, Any]) -> str:
    progress = row["facts"].get("progress")
    return (
        f"{row['state']} {progress:.0%}" if row["state"] == "loading" and progress else row["state"]
    )


LS_COLUMNS = (
    Column("", lambda row: "*" if row["is_default"] else " "),
    Column("MODEL", lambda row: f"{row['name']}@{row['version']}"),
    Column("KIND", lambda row: row["kind"]),
    Column("STATE", _state, style=lambda cell: STATE_STYLES.get(cell.split(" ")[0])),
    Column("ENGINES", lambda row: row["engines"], right=True),
    Column("SESSIONS", lambda row: row["sessions"], right=True),
    Column("SERVED", lambda row: f"{row['served']['completions']:,}", right=True),
    Column("PARAMETERS", _millions, right=True),
    Column("CONTEXT", lambda row: row["facts"].get("max_context"), right=True),
    Column("WHERE", lambda row: row["location"]),
)


@app.command("add")
@guarded
@with_spec
def add(
    model: Annotated[str, typer.Argument(help="Its name; a name that is there gets a version.")],
    spec: dict[str, Any],
    use: Annotated[
        bool, typer.Option("--use", help="Let requests without a model go to it.")
    ] = False,
    home: HomeOption = None,
    name: NameOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a model known: a folder on this machine, or an endpoint. Nothing is loaded yet.

    Example: llmos model add small --path ./llama-1b --dtype bfloat16 --use
    """
    with open_client(Where(home, name)) as client:
        info = client.system("model_add", spec={"name": model, **spec})
        if use:
            info = client.system("model_use", name=info["name"], version=info["version"])
    if as_json:
        print_json(info)
    else:
        typer.echo(f"{label(info)} is there; `llmos model load {info['name']}` loads it")


@app.command("ls")
@guarded
def ls(home: HomeOption = None, name: NameOption = None, as_json: JsonOption = False) -> None:
    """List the models; a star marks the one that requests without a model go to.

    Example: llmos model ls
    """
    with open_client(Where(home, name)) as client:
        models = client.system("models")
    if as_json:
        print_json(models)
        return
    print_table(LS_COLUMNS, models)
    for model in models:
        if model["error"]:
            typer.echo(f"{label(model)}: {summary(from_wire(model['error']))}", err=True)


@app.command("use")
@guarded
def use_model(
    model: ModelArgument,
    home: HomeOption = None,
    name: NameOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let requests that name no model go to this one.

    Example: llmos model use small
    """
    with open_client(Where(home, name)) as client:
        info = client.system("model_use", **named(model))
    if as_json:
        print_json(info)
    else:
        typer.echo(f"{label(info)} is in use")


@app.command("load")
@guarded
def load(
    model: ModelArgument,
    home: HomeOption = None,
    name: NameOption = None,
    as_json: JsonOption = False,
) -> None:
    """Start a model's engine and wait until it is ready; the first request would do it too.

    Example: llmos model load small
    """
    with open_client(Where(home, name)) as client:
        info = load_with_progress(client, named(model), is_quiet=as_json)
    if as_json:
        print_json(info)
    else:
        count = info["engines"]
        typer.echo(f"{label(info)} is ready on {count} engine{'s' * (count != 1)}")


@app.command("rm")
@guarded
def remove(
    model: ModelArgument,
    home: HomeOption = None,
    name: NameOption = None,
    as_json: JsonOption = False,
) -> None:
    """Forget a model, or one version of it; refused while sessions or requests use it.

    Example: llmos model rm small@1
    """
    with open_client(Where(home, name)) as client:
        client.system("model_remove", **named(model))
    if as_json:
        print_json({"removed": model})
    else:
        typer.echo(f"removed {model}")


def named(word: str) -> dict[str, Any]:
    """Return the arguments by which a system call finds NAME or NAME@VERSION."""
    model, at, version = word.rpartition("@")
    if at and model and version.isdecimal():
        return {"name": model, "version": int(version)}
    return {"name": word}


def label(info: Mapping[str, Any]) -> str:
    """Return how people call a version of a model."""
    return f"{info['name']}@{info['version']}"
