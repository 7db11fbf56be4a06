"""The command `llmos`: all commands by name.

Cost: only the module of the command that was called is imported (all for help and completion),
and each imports ZeroMQ, rich and the SDK only when it needs them, so that `llmos ps` stays
below a quarter of a second.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Annotated, Any, NamedTuple

import typer

from actors.cli.exits import table
from actors.cli.options import HomeOption, NameOption


class Entry(NamedTuple):
    """Where a command lives, and under which heading the help shows it."""

    panel: str
    module: str
    attribute: str
    settings: dict[str, Any] = {}  # noqa: RUF012  never changed; NamedTuple fields need a value


PROGRAM = "llmos"
COMPLETION_VARIABLE = "_LLMOS_COMPLETE"  # set by the shell's completion script
# Options after `bench` and `lab` are the bench's own, --help too.
PASS_ALL = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
KERNEL, AGENTS, MAIL, MACHINE = "The kernel", "Agents", "Messages", "This machine"
MODELS = "Language models"

COMMANDS: dict[str, Entry] = {
    "up": Entry(KERNEL, "lifecycle", "up"),
    "down": Entry(KERNEL, "lifecycle", "down"),
    "status": Entry(KERNEL, "lifecycle", "status"),
    "statistics": Entry(KERNEL, "lifecycle", "statistics"),
    "spawn": Entry(AGENTS, "spawn", "spawn"),
    "pool": Entry(AGENTS, "pool", "app"),
    "ps": Entry(AGENTS, "agents", "ps"),
    "tree": Entry(AGENTS, "agents", "tree"),
    "top": Entry(AGENTS, "top", "top"),
    "inspect": Entry(AGENTS, "agents", "inspect"),
    "logs": Entry(AGENTS, "logs", "logs"),
    "policy": Entry(KERNEL, "policy", "app"),
    "stop": Entry(AGENTS, "control", "stop"),
    "restart": Entry(AGENTS, "control", "restart"),
    "kill": Entry(AGENTS, "control", "kill"),
    "budget": Entry(AGENTS, "budget", "app"),
    "ask": Entry(MAIL, "messages", "ask"),
    "tell": Entry(MAIL, "messages", "tell"),
    "dead-letters": Entry(MAIL, "dead_letters", "app"),
    "model": Entry(MODELS, "model", "app"),
    "complete": Entry(MODELS, "complete", "complete"),
    "chat": Entry(MODELS, "chat", "chat"),
    "resources": Entry(MACHINE, "resources", "app"),
    "doctor": Entry(MACHINE, "doctor", "doctor"),
    "demo": Entry(MACHINE, "demo", "demo"),
    "plan": Entry(MACHINE, "plan", "plan"),
    "bench": Entry(MACHINE, "bench", "bench", PASS_ALL),
    "record": Entry(MACHINE, "record", "app"),
    "lab": Entry(MACHINE, "lab", "lab", PASS_ALL),
}


def _version(wanted: bool) -> None:
    if wanted:
        # Imported here: reading the metadata costs more than most commands' own work.
        from importlib.metadata import PackageNotFoundError, version

        try:
            typer.echo(f"llmos {version('llmos')}")
        except PackageNotFoundError:
            typer.echo("llmos, not installed (run from its source tree)")
        raise typer.Exit


def root(
    home: HomeOption = None,
    name: NameOption = None,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """An operating system for LLM agents: a kernel, and agents as processes that lose nothing.

    Start it with `llmos up`, then `llmos spawn module:Class`. Every command has --help with an
    example, --home or --name to choose the kernel, and --json where it prints data.
    """
    # Commands read both from there when they are not given after the command's name.
    if home is not None:
        os.environ["LLMOS_HOME"] = str(home)
    if name is not None:
        os.environ["LLMOS_NAME"] = name


def build_app(names: list[str], *, for_people: bool) -> typer.Typer:
    """Return the application with these commands.

    for_people: boxes and colours in help; a pipe gets plain lines.
    """
    app = typer.Typer(
        name=PROGRAM,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich" if for_people else None,
        context_settings={"help_option_names": ["-h", "--help"]},
        epilog="Exit codes:\n\n\b\n" + table(),
    )
    app.callback()(root)
    for name in names:
        _register(app, name, COMMANDS[name])
    return app


def _register(app: typer.Typer, name: str, entry: Entry) -> None:
    command = getattr(import_module(f"actors.cli.{entry.module}"), entry.attribute)
    if isinstance(command, typer.Typer):
        app.add_typer(command, name=name, rich_help_panel=entry.panel)
    else:
        settings = entry.settings or None
        app.command(name, rich_help_panel=entry.panel, context_settings=settings)(command)


def needed(words: list[str]) -> list[str]:
    """Return the commands this command line may need: the one it names, or all."""
    if words and words[0] in COMMANDS and COMPLETION_VARIABLE not in os.environ:
        return [words[0]]
    return list(COMMANDS)


def run() -> None:
    """Run the command line and end the process with its exit code."""
    app = build_app(needed(sys.argv[1:]), for_people=sys.stdout.isatty())
    app(prog_name=PROGRAM)
