"""An endpoint's key: where it is, and what it was when last read.

The key itself stays in this object: it is in no spec, no journal, no log and no error. What
an endpoint says is passed through ``scrub`` before anybody sees it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from actors.remote_engine.endpoint import Endpoint

MAX_BYTES = 8192


class Key:
    """See the module head."""

    __slots__ = ("_endpoint", "_env", "_file", "_secret", "_secrets")

    def __init__(self, endpoint: Endpoint, spec: dict[str, Any]) -> None:
        self._endpoint = endpoint
        self._env: str | None = spec.get("key_env")
        self._file: str | None = spec.get("key_file")
        self._secret = ""
        self._secrets: list[str] = []  # those read so far: an old one may be live elsewhere

    def __repr__(self) -> str:
        return f"Key(env={self._env!r}, file={self._file!r})"

    def read(self) -> bool:
        """Read the key. Returns: whether it is another than before.

        Raises:
            BadModelError: it is named and not there, or it cannot be a key.
        """
        secret = self._check(self._fetch())
        is_new = secret != self._secret
        self._secret = secret
        if secret and secret not in self._secrets:
            self._secrets = [*self._secrets[-7:], secret]
        return is_new

    def headers(self) -> dict[str, str]:
        """Return what proves to the endpoint who asks; nothing without a key."""
        return {"Authorization": f"Bearer {self._secret}"} if self._secret else {}

    def scrub(self, text: str) -> str:
        """Return a text of the endpoint's without our keys."""
        for secret in self._secrets:
            text = text.replace(secret, "[key]")
        return text

    def _fetch(self) -> str:
        if self._env and self._file:
            raise self._endpoint.wrong("key_env and key_file are both given")
        if self._env:
            if (secret := os.environ.get(self._env)) is None:
                raise self._endpoint.wrong(f"the environment has no {self._env}")
            return secret
        return self._from_file(Path(self._file)) if self._file else ""

    def _from_file(self, path: Path) -> str:
        try:
            with path.open("rb") as file:
                return file.read(MAX_BYTES + 1).decode("ascii")
        except OSError as problem:
            text = f"the key file {path} cannot be read: {problem.strerror}"
            raise self._endpoint.wrong(text) from None
        except UnicodeDecodeError:
            raise self._endpoint.wrong(f"the key file {path} holds no key") from None

    def _check(self, secret: str) -> str:
        secret = secret.strip()
        if not (self._env or self._file):
            return ""
        if not secret or len(secret) > MAX_BYTES or not _is_header_text(secret):
            raise self._endpoint.wrong(f"what {self._env or self._file} holds is no key")
        return secret


def _is_header_text(secret: str) -> bool:
    return secret.isascii() and secret.isprintable() and " " not in secret
