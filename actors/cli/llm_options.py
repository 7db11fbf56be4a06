"""The options of commands that call a language model, and the completion of models' names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from actors.cli.connection import Where, open_client
from actors.cli.options import COMPLETION_TIMEOUT_S
from ipc.errors import LLMOSError, UsageError


def complete_model(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the models that begin so; none when no kernel answers."""
    home = ctx.params.get("home")
    where = Where(Path(home) if home else None, ctx.params.get("name"))
    try:
        with open_client(where, COMPLETION_TIMEOUT_S) as client:
            names = {model["name"] for model in client.system("models")}
    except (LLMOSError, OSError):
        return []
    return sorted(name for name in names if name.startswith(incomplete))


ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME",
        help="NAME or NAME@VERSION; default: the one in use.",
        autocompletion=complete_model,
    ),
]
MaxTokensOption = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="End after so many tokens.")
]
TemperatureOption = Annotated[
    float | None, typer.Option(metavar="T", min=0, help="0, the default, is greedy.")
]
TopPOption = Annotated[
    float | None, typer.Option(metavar="P", help="Sample from the likeliest that sum up to P.")
]
TopKOption = Annotated[
    int | None, typer.Option(metavar="K", min=0, help="Sample from the K likeliest.")
]
SeedOption = Annotated[
    int | None, typer.Option(metavar="N", min=0, help="The same seed gives the same text.")
]
StopOption = Annotated[
    list[str] | None, typer.Option(metavar="TEXT", help="End before this text; may be repeated.")
]
SchemaOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="JSON schema that the text keeps to.")
]
RegexOption = Annotated[
    str | None, typer.Option(metavar="PATTERN", help="Expression that the text keeps to.")
]
LogprobsOption = Annotated[
    int | None,
    typer.Option(metavar="N", min=0, help="With --json: N alternatives a token, and how likely."),
]


def read_schema(path: Path | None) -> dict[str, Any] | None:
    """Return the JSON schema in a file.

    Raises:
        UsageError: there is none.
    """
    if path is None:
        return None
    try:
        schema = json.loads(path.expanduser().read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(reason=f"{path} is no JSON schema: {error}") from None
    if not isinstance(schema, dict):
        raise UsageError(reason=f"{path} is no JSON schema: it is not an object")
    return schema


def given(**options: Any) -> dict[str, Any]:
    """Return the options that were given."""
    return {name: value for name, value in options.items() if value not in (None, [])}
