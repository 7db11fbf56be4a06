"""How commands reach the kernel: one short session each, made by the SDK's ``connect``.

What it is not: the client (actors/client.py). ``connect_sdk`` is the one seam of the command
line; tests put a client of their own there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ipc.errors import LLMOSError, UnknownActorError, UsageError
from ipc.home import DEFAULT_NAME, Home, home_at, named_home

if TYPE_CHECKING:
    from actors.client import Client


class Operator(Protocol):
    """Who makes system calls: a client, for what needs no more of it."""

    def system(self, call: str, /, **arguments: Any) -> Any:
        """Make a system call."""
        ...


class Where(NamedTuple):
    """Which kernel is meant: a directory, or a name below the user's own directories."""

    home: Path | None = None
    name: str | None = None

    def paths(self) -> Home:
        """Return the paths of that kernel; nothing is touched.

        Raises:
            UsageError: both a directory and a name.
        """
        if self.home is not None and self.name is not None:
            raise UsageError(reason="give --home (or LLMOS_HOME) or --name (LLMOS_NAME), not both")
        if self.home is not None:
            return home_at(self.home)
        return named_home(self.name or DEFAULT_NAME)

    def words(self) -> list[str]:
        """Return the options that name it again on another command line."""
        if self.home is not None:
            return ["--home", str(self.home)]
        return ["--name", self.name] if self.name else []


def connect_sdk() -> Callable[..., AbstractContextManager[Client]]:
    """Return the SDK's ``connect``."""
    # Imported here: ``llmos --help`` and ``doctor`` need neither ZeroMQ nor the SDK.
    from actors.client import connect

    return connect


@contextmanager
def open_client(where: Where, timeout_s: float | None = None) -> Iterator[Client]:
    """Yield a client of the kernel at ``where``; it is closed afterwards.

    Raises:
        KernelUnavailableError: no kernel runs there.
    """
    where.paths()  # says what is wrong with options in their own words
    connect = connect_sdk()
    options: dict[str, Any] = {} if timeout_s is None else {"timeout": timeout_s}
    with connect(home=where.home, name=where.name, **options) as client:
        try:
            yield client
        except UnknownActorError as error:
            raise with_suggestion(client, error) from None


def with_suggestion(client: Client, error: UnknownActorError) -> UnknownActorError:
    """Return the error with the nearest names there are, if it has no hint yet."""
    if error.hint:
        return error
    near = get_close_matches(str(error.name), agent_names(client), n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    return UnknownActorError(name=error.name, hint=hint)


def agent_names(client: Client) -> list[str]:
    """Return the names of all agents, sorted."""
    try:
        return sorted(info["name"] for info in client.system("ps"))
    except LLMOSError:
        return []
