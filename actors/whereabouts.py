"""Where a client finds its kernel, and by what it may enter: endpoint and operator token."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ipc.auth import read_operator_token
from ipc.errors import KernelUnavailableError, TokenFileError, UsageError
from ipc.home import DEFAULT_NAME, home_at, named_home


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """One kernel's door. home: for messages to people."""

    endpoint: str
    token: str
    home: str

    @classmethod
    def find(
        cls,
        home: str | os.PathLike[str] | None = None,
        name: str | None = None,
        endpoint: str | None = None,
        token: str | None = None,
    ) -> Whereabouts:
        """Return where the kernel is. Without a token given, its home's file is read.

        Raises:
            UsageError: both a home and a name.
            KernelUnavailableError: there has never been a kernel.
            TokenFileError: the token's file cannot be trusted.
        """
        if home is not None and name is not None:
            raise UsageError(reason="say home or name, not both")
        paths = home_at(os.fspath(home)) if home is not None else named_home(name or DEFAULT_NAME)
        shown = str(paths.state_dir)
        if token is None:
            if not os.path.lexists(paths.operator_token):
                raise KernelUnavailableError(home=shown)
            token = read_operator_token(paths.operator_token)
        return cls(endpoint or paths.endpoint, token, shown)


__all__ = ["TokenFileError", "Whereabouts"]
