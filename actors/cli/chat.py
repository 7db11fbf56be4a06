"""The command `chat`: talk with a language model or an agent."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from actors.cli.chat_partner import AgentPartner, ModelPartner, Partner
from actors.cli.chat_terminal import TerminalChat, talk_through_pipe
from actors.cli.connection import Where, open_client
from actors.cli.guard import guarded
from actors.cli.llm_options import (
    MaxTokensOption,
    SeedOption,
    TemperatureOption,
    TopPOption,
    complete_model,
    given,
)
from actors.cli.loading import load_with_progress
from actors.cli.model import label, named
from actors.cli.options import HomeOption, JsonOption, NameOption, complete_agent
from actors.cli.render import print_json_line
from ipc.errors import UnknownModelError, UsageError

if TYPE_CHECKING:
    from actors.client import Client


@guarded
def chat(
    model: Annotated[
        str | None,
        typer.Argument(help="NAME or NAME@VERSION.", autocompletion=complete_model),
    ] = None,
    agent: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Talk with an agent.", autocompletion=complete_agent),
    ] = None,
    handler: Annotated[
        str | None, typer.Option(metavar="NAME", help="The agent's handler that takes a text.")
    ] = None,
    system: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What the model is told beforehand.")
    ] = None,
    max_tokens: MaxTokensOption = None,
    temperature: TemperatureOption = None,
    top_p: TopPOption = None,
    seed: SeedOption = None,
    home: HomeOption = None,
    name: NameOption = None,
    as_json: JsonOption = False,
) -> None:
    """Talk with a language model, or with an agent. Ctrl-C stops an answer, /quit ends.

    When standard input is no terminal, each line is a message.

    Example: llmos chat --agent triage
    """
    if agent is not None and model is not None:
        raise UsageError(reason="say a model or --agent, not both")
    options = given(max_tokens=max_tokens, temperature=temperature, top_p=top_p, seed=seed)
    where = Where(home, name)
    is_terminal = sys.stdin.isatty()
    with open_client(where) as client:

        def talk_with(chosen: str | None) -> Partner:
            if is_terminal and not as_json:
                load_with_progress(client, named(chosen or default_model(client)))
            return ModelPartner(client, chosen, system, options)

        partner: Partner = (
            talk_with(model) if agent is None else AgentPartner(client, agent, handler)
        )
        if as_json:
            for line in filter(None, map(str.rstrip, sys.stdin)):
                print_json_line({"said": line, "answer": "".join(partner.say(line))})
        elif is_terminal:
            terminal = TerminalChat(partner, talk_with, where.paths().state_dir / "chat_history")
            terminal.run()
            partner = terminal.partner  # by /model another; the one before is closed
        else:
            talk_through_pipe(partner)
        partner.close()


def default_model(client: Client) -> str:
    """Return the model that requests without one go to. Raises UnknownModelError."""
    models = client.system("models")
    for info in models:
        if info["is_default"]:
            return label(info)
    known = ", ".join(label(info) for info in models) or "none"
    raise UnknownModelError(name="(none in use)", known=known)
