"""Commands that stop, replace or end agents: stop, restart, kill."""

from __future__ import annotations

from typing import Annotated

import typer

from actors.cli.connection import Where, open_client
from actors.cli.guard import guarded
from actors.cli.options import AgentsArgument, HomeOption, JsonOption, NameOption
from actors.cli.render import print_json
from actors.cli.values import agent_key


@guarded
def kill(
    agents: AgentsArgument,
    tree: Annotated[
        bool, typer.Option("--tree/--no-tree", help="Also all that it spawned.")
    ] = True,
    home: HomeOption = None,
    name: NameOption = None,
    as_json: JsonOption = False,
) -> None:
    """Terminate agents for good: process, mail, state and timers are gone.

    Example: llmos kill hits
    """
    with open_client(Where(home, name)) as client:
        answers = [client.system("kill", actor=agent_key(agent), tree=tree) for agent in agents]
    names = [one for answer in answers for one in answer["terminated"]]
    if as_json:
        print_json({"terminated": names})
    else:
        typer.echo(f"terminated {', '.join(names)}")


@guarded
def restart(
    agents: AgentsArgument,
    home: HomeOption = None,
    name: NameOption = None,
    as_json: JsonOption = False,
) -> None:
    """Replace the processes of agents; mail, state and timers stay.

    Also lets a quarantined or stopped agent try again. Example: llmos restart hits
    """
    with open_client(Where(home, name)) as client:
        answers = [client.system("restart", actor=agent_key(agent)) for agent in agents]
    if as_json:
        print_json(answers)
        return
    typer.echo(f"{', '.join(agents)} back in new processes")


@guarded
def stop(
    agents: AgentsArgument,
    home: HomeOption = None,
    name: NameOption = None,
    as_json: JsonOption = False,
) -> None:
    """Stop the processes of agents; mail, state and timers stay until `llmos restart`.

    Example: llmos stop hits
    """
    with open_client(Where(home, name)) as client:
        for agent in agents:
            client.system("stop", actor=agent_key(agent))
    if as_json:
        print_json({"stopped": agents})
    else:
        typer.echo(f"stopped {', '.join(agents)}")
