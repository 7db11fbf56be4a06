"""What a waiting command tells: whom it waits for, and what that one does.

Mail of an agent that is quarantined or stopped is kept, so an ask of it waits, as promised; who
typed it should know why. Told once, on stderr, after PATIENCE_S.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from actors.cli.connection import Operator
from actors.cli.values import agent_key
from ipc.errors import LLMOSError

PATIENCE_S = 3.0
REMEDIES = {
    "quarantined": "its mail is kept; `llmos restart {agent}` lets it try again",
    "stopped": "its mail is kept; `llmos restart {agent}` starts it",
}


@contextmanager
def explained(client: Operator, agent: str, *, after_s: float = PATIENCE_S) -> Iterator[None]:
    """Say what the agent does if the block takes longer."""
    timer = threading.Timer(after_s, _tell, (client, agent))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _tell(client: Operator, agent: str) -> None:
    try:
        state = client.system("inspect", actor=agent_key(agent))["state"]
    except LLMOSError:
        return  # a pool, or gone: the answer will say so
    remedy = REMEDIES.get(state, "Ctrl-C cancels").format(agent=agent)
    typer.echo(f"waiting for {agent}: it is {state}; {remedy}", err=True)
