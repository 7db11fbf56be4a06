"""Commands that speak with agents: ask and tell."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from actors.cli.connection import Where, open_client
from actors.cli.guard import guarded
from actors.cli.options import (
    AgentArgument,
    HandlerArgument,
    HomeOption,
    JsonOption,
    NameOption,
    ValuesArgument,
)
from actors.cli.patience import explained
from actors.cli.render import print_json, print_json_line, print_value
from actors.cli.values import agent_key, parse_arguments

if TYPE_CHECKING:
    from actors.client import Client
    from actors.reference import Method, Verb

PriorityOption = Annotated[
    int | None, typer.Option(min=0, max=7, help="0 is the most urgent, 4 the default.")
]
KeyOption = Annotated[
    str | None,
    typer.Option(metavar="TEXT", help="Send at most once for this key, in 24 hours."),
]
AffinityOption = Annotated[
    str | None,
    typer.Option(
        metavar="KEY",
        help="To a pool: the member that has unfinished messages of the same KEY, in order.",
    ),
]


@guarded
def ask(
    agent: AgentArgument,
    handler: HandlerArgument,
    values: ValuesArgument = None,
    timeout: Annotated[
        float | None, typer.Option(metavar="S", min=0, help="Deadline for the answer.")
    ] = None,
    priority: PriorityOption = None,
    key: KeyOption = None,
    affinity: AffinityOption = None,
    stream: Annotated[
        bool, typer.Option("--stream", help="Print the items of a streaming handler as they come.")
    ] = False,
    home: HomeOption = None,
    name: NameOption = None,
    as_json: JsonOption = False,
) -> None:
    """Call a handler of an agent and print its answer.

    Example: llmos ask hits add amount=5
    """
    args, kwargs = parse_arguments(values or [])
    options = _given(deadline=timeout, priority=priority, key=key, affinity=affinity)
    with open_client(Where(home, name)) as client:
        call = method(client, agent, handler, "stream" if stream else "ask", options)
        if not stream:
            with explained(client, agent):
                answer = call(*args, **kwargs)
            print_value(answer, as_json=as_json)
            return
        for item in call(*args, **kwargs):
            typer.echo(item) if isinstance(item, str) and not as_json else print_json_line(item)
            sys.stdout.flush()


@guarded
def tell(
    agent: AgentArgument,
    handler: HandlerArgument,
    values: ValuesArgument = None,
    nowait: Annotated[
        bool, typer.Option("--nowait", help="Fail rather than wait when the mailbox is full.")
    ] = False,
    priority: PriorityOption = None,
    key: KeyOption = None,
    affinity: AffinityOption = None,
    home: HomeOption = None,
    name: NameOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send a message to a handler of an agent; done when the kernel has it in its journal.

    Example: llmos tell hits add amount=5
    """
    args, kwargs = parse_arguments(values or [])
    options = _given(nowait=nowait or None, priority=priority, key=key, affinity=affinity)
    with open_client(Where(home, name)) as client:
        method(client, agent, handler, "tell", options)(*args, **kwargs)
    if as_json:
        print_json({"accepted": True})


def method(client: Client, agent: str, handler: str, verb: Verb, options: Any) -> Method:
    """Return a handler of an agent, ready to be called; its name may be any."""
    # Imported here: see actors/cli/app.py. ``ref.handler`` would miss one called ``name``.
    from actors.reference import Method

    reference = client.lookup(agent_key(agent)).options(**options)
    return Method(reference, handler, verb)


def _given(**options: Any) -> dict[str, Any]:
    return {key: value for key, value in options.items() if value is not None}
