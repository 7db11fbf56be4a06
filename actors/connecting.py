"""How async code gets a session: ``aconnect``, awaited or in ``async with``."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Any

from actors.async_client import AsyncClient
from actors.whereabouts import Whereabouts


class Connecting:
    """What ``aconnect`` returns: await it, or use it in ``async with``."""

    def __init__(self, where: Whereabouts, timeout: float | None) -> None:
        self.where = where
        self._timeout = timeout
        self._client: AsyncClient | None = None

    async def _open(self) -> AsyncClient:
        self._client = AsyncClient(self.where)
        await self._client.open(self._timeout)
        return self._client

    def __await__(self) -> Any:
        return self._open().__await__()

    async def __aenter__(self) -> AsyncClient:
        return await self._open()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._client is not None:
            await self._client.close()


def aconnect(
    home: str | os.PathLike[str] | None = None,
    name: str | None = None,
    *,
    endpoint: str | None = None,
    token: str | None = None,
    timeout: float | None = None,
) -> Connecting:
    """Connect to a kernel: ``async with aconnect() as client``, or ``client = await aconnect()``.

    home: the kernel's directory; name: of a kernel in the user's own directories; endpoint and
        token: where neither tells. timeout: how long to look for it; None: it must be there.
    Raises (when awaited):
        KernelUnavailableError: nobody listens there.
    """
    return Connecting(Whereabouts.find(home, name, endpoint, token), timeout)
