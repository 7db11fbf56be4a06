"""The options and arguments that many commands share, and the completion of agents' names."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from actors.cli.connection import Where, agent_names, open_client
from ipc.errors import LLMOSError

COMPLETION_TIMEOUT_S = 1.0  # a person waits with a finger on the Tab key


def where_of(ctx: typer.Context) -> Where:
    """Return the kernel that the options on the line name; for completions."""
    home = ctx.params.get("home")
    return Where(Path(home) if home else None, ctx.params.get("name"))


def complete_agent(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the names of the living agents that begin so; none when no kernel answers."""
    try:
        with open_client(where_of(ctx), COMPLETION_TIMEOUT_S) as client:
            return [name for name in agent_names(client) if name.startswith(incomplete)]
    except (LLMOSError, OSError):
        return []


def complete_handler(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the handlers of the agent named before on the line."""
    agent = ctx.params.get("agent")
    if not agent:
        return []
    try:
        with open_client(where_of(ctx), COMPLETION_TIMEOUT_S) as client:
            handlers = client.system("inspect", actor=agent)["handlers"]
    except (LLMOSError, OSError):
        return []
    return sorted(name for name in handlers if name.startswith(incomplete))


HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home",
        envvar="LLMOS_HOME",
        metavar="DIR",
        help="Directory of the kernel's state, socket and logs.",
        show_envvar=False,
    ),
]
NameOption = Annotated[
    str | None,
    typer.Option(
        "--name",
        envvar="LLMOS_NAME",
        metavar="NAME",
        help="Name of the kernel, when several run side by side.",
        show_envvar=False,
    ),
]
LONGEST_S = 86_400.0  # a day: a look or pause that is longer is a slip of the keyboard
IntervalOption = Annotated[
    float, typer.Option("-i", "--interval", min=0.1, max=LONGEST_S, help="Seconds.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
AgentArgument = Annotated[
    str, typer.Argument(help="Name or number of the agent.", autocompletion=complete_agent)
]
AgentsArgument = Annotated[
    list[str], typer.Argument(help="Names or numbers of agents.", autocompletion=complete_agent)
]
HandlerArgument = Annotated[
    str, typer.Argument(help="The handler to call.", autocompletion=complete_handler)
]
TargetArgument = Annotated[str, typer.Argument(help="module:Class or path/to/file.py:Class")]
ValuesArgument = Annotated[
    list[str] | None,
    typer.Argument(help="key=value or value, each JSON or else text; @file reads a file."),
]
NewNameOption = Annotated[
    str | None, typer.Option("--as", metavar="NAME", help="Name under which others find it.")
]
EnvOption = Annotated[
    list[str] | None,
    typer.Option("--env", metavar="KEY=VALUE", help="Environment variable for its processes."),
]
MailboxOption = Annotated[
    int | None, typer.Option("--mailbox", metavar="MESSAGES", min=1, help="Limit of its mailbox.")
]
MaxAttemptsOption = Annotated[
    int | None,
    typer.Option("--max-attempts", min=1, help="Attempts at a message before it is a dead letter."),
]
