"""URLs of endpoints: what may stand in one, and how one is shown.

Promise: a URL that holds a key, a user or a query is refused before it is journaled, and is never
shown whole. The kernel asks when a model is added, the remote engine when it starts.

Cost: a few us. Pure.
"""

from __future__ import annotations

from urllib.parse import urlsplit


def problem_of_url(url: str) -> str | None:
    """Return what is wrong with an endpoint's URL, without the URL itself; None: nothing."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 (it checks when it is read)
    except ValueError as problem:
        return f"no URL: {problem}"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "an endpoint is a URL like http://host:8000/v1"
    if parts.username is not None or parts.password is not None:
        return "the URL holds a user: name the key by key_env or key_file instead"
    if parts.query or parts.fragment:
        return "the URL holds a query or a fragment"
    return None


def without_secrets(url: str) -> str:
    """Return a URL that may be shown, even if it should not have been like that."""
    head, at, tail = url.rpartition("@")
    scheme = head.split("//", 1)[0] + "//" if "//" in head else ""
    return (f"{scheme}...@{tail}" if at else url).split("?", 1)[0].split("#", 1)[0]
