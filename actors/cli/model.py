"""The commands `model add`, `ls`, `use`, `load`, `rm`: the language models a kernel knows."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from actors.cli.connection import Where, open_client
from actors.cli.guard import guarded, summary
from actors.cli.llm_options import complete_model
from actors.cli.loading import load_with_progress
from actors.cli.options import HomeOption, JsonOption, NameOption
from actors.cli.render import Column, print_json, print_table
from ipc.budget import read_amount
from ipc.errors import UsageError, from_wire

app = typer.Typer(no_args_is_help=True, help="Language models: add, list, choose, load, remove.")


class Dtype(StrEnum):
    """What a model's weights are held as."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


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
    Column("PARAMETERS", _millions, right=True),
    Column("CONTEXT", lambda row: row["facts"].get("max_context"), right=True),
    Column("WHERE", lambda row: row["location"]),
)


@app.command("add")
@guarded
def add(
    model: Annotated[str, typer.Argument(help="Its name; a name that is there gets a version.")],
    path: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder with config, safetensors and tokenizer."),
    ] = None,
    endpoint: Annotated[
        str | None, typer.Option(metavar="URL", help="OpenAI-compatible API, http://host:8000/v1.")
    ] = None,
    driver: Annotated[
        str | None, typer.Option(metavar="MODULE:CLASS", help="An engine of one's own.")
    ] = None,
    remote_model: Annotated[
        str | None, typer.Option(metavar="NAME", help="The endpoint's name for it.")
    ] = None,
    key_env: Annotated[
        str | None,
        typer.Option(metavar="VARIABLE", help="The kernel's variable that holds the key."),
    ] = None,
    key_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File that holds the endpoint's key.")
    ] = None,
    dtype: Annotated[Dtype | None, typer.Option(help="What weights are held as.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1 ...")] = None,
    engines: Annotated[int | None, typer.Option(min=1, help="Engine processes.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads of each.")] = None,
    kv_mib: Annotated[
        int | None, typer.Option(min=1, help="Memory for KV blocks, in MiB; default: what is free.")
    ] = None,
    host_kv_mib: Annotated[
        int | None, typer.Option(min=1, help="Host memory for swapped requests, in MiB.")
    ] = None,
    block_size: Annotated[int | None, typer.Option(min=1, help="Tokens of a KV block.")] = None,
    max_running: Annotated[
        int | None, typer.Option(min=1, help="Requests that are computed at once.")
    ] = None,
    max_step_tokens: Annotated[
        int | None, typer.Option(min=1, help="Tokens computed in one step.")
    ] = None,
    max_context: Annotated[
        int | None, typer.Option(min=1, help="Tokens of a request; default: the model's.")
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Endpoint: requests at once.")
    ] = None,
    requests_per_minute: Annotated[
        int | None, typer.Option(min=1, help="Endpoint: requests a minute.")
    ] = None,
    tokens_per_minute: Annotated[
        int | None, typer.Option(min=1, help="Endpoint: tokens a minute.")
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(metavar="S", min=0.1, help="Endpoint: silence allowed.")
    ] = None,
    price_in: Annotated[
        str | None, typer.Option(metavar="MONEY", help="Of a million tokens of prompts.")
    ] = None,
    price_out: Annotated[
        str | None, typer.Option(metavar="MONEY", help="Of a million tokens of completions.")
    ] = None,
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
    places = [place for place in (path, endpoint, driver) if place is not None]
    if len(places) != 1:
        raise UsageError(reason="say where the model is: one of --path, --endpoint and --driver")
    spec = {
        "name": model,
        "path": None if path is None else str(path.expanduser().absolute()),
        "endpoint": endpoint,
        "driver": driver,
        "remote_model": remote_model,
        "key_env": key_env,
        "key_file": None if key_file is None else str(key_file.expanduser().absolute()),
        "dtype": dtype.value if dtype else None,
        "device": device,
        "engines": engines,
        "threads": threads,
        "kv_bytes": None if kv_mib is None else kv_mib << 20,
        "host_kv_bytes": None if host_kv_mib is None else host_kv_mib << 20,
        "block_size": block_size,
        "max_running": max_running,
        "max_step_tokens": max_step_tokens,
        "max_context": max_context,
        "concurrency": concurrency,
        "requests_per_minute": requests_per_minute,
        "tokens_per_minute": tokens_per_minute,
        "timeout_s": timeout,
        "price_in": None if price_in is None else read_amount("money", price_in),
        "price_out": None if price_out is None else read_amount("money", price_out),
    }
    with open_client(Where(home, name)) as client:
        wanted = {key: value for key, value in spec.items() if value is not None}
        info = client.system("model_add", spec=wanted)
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
        typer.echo(f"{label(info)} is ready on {info['engines']} engines")


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
