"""Tokens: by which a process proves who it is when it says HELLO.

An agent's token is made for one incarnation and given to its process at spawn; the kernel keeps
only its hash. The operator's token lies in a file that its owner alone can read; whoever can
read it may do everything. What it is not: access rules (the kernel), encryption (tcp:// only).

Promise: a token file that anybody else could have read or put there is refused, and one is
created whole or not at all, even if two kernels start at once.
Cost: about 1 us a check. No state.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import hmac
import os
import re
import secrets
import stat
from pathlib import Path

from ipc.errors import TokenFileError

TOKEN_BYTES = 32
_TOKEN = re.compile(r"[0-9a-f]{64}")


def new_token() -> str:
    """Return a token nobody can guess: 64 hexadecimal digits."""
    return secrets.token_hex(TOKEN_BYTES)


def hash_token(token: str) -> str:
    """Return what may be stored of a token; the token cannot be found from it."""
    return hashlib.blake2b(token.encode(errors="replace"), digest_size=32).hexdigest()


def is_token(claimed: str, token: str) -> bool:
    """Compare in a time that tells nothing about the token."""
    return hmac.compare_digest(claimed.encode(errors="replace"), token.encode())


def is_token_of(claimed: str, token_hash: str) -> bool:
    """Say whether ``claimed`` is the token with this hash, likewise."""
    return hmac.compare_digest(hash_token(claimed), token_hash)


def ensure_operator_token(path: Path) -> str:
    """Return the token in the file; make the file, mode 0600, if there is none.

    Raises:
        TokenFileError: the file is there but cannot be trusted, or cannot be made.
    """
    if not os.path.lexists(path):
        try:
            _create(path, new_token())
        except OSError as problem:
            raise TokenFileError(path=str(path), problem=str(problem)) from problem
    return read_operator_token(path)


def read_operator_token(path: Path) -> str:
    """Return the token in the file.

    Raises:
        TokenFileError: it is missing, not ours, readable by others, or holds no token.
    """
    try:
        # A link could lead to a file of somebody else's choice; NONBLOCK: it might be a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as problem:
        raise TokenFileError(path=str(path), problem=_explain(problem)) from problem
    try:
        if reason := _distrust(os.fstat(descriptor)):
            raise TokenFileError(path=str(path), problem=reason)
        text = os.read(descriptor, 1024).decode("ascii", errors="replace").strip()
    finally:
        os.close(descriptor)
    if not _TOKEN.fullmatch(text):
        raise TokenFileError(
            path=str(path), problem="it holds no token; stop the kernel, remove it"
        )
    return text


def _create(path: Path, token: str) -> None:
    """Put the file there whole; keeps what another process has put there meanwhile."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(draft, flags, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(f"{token}\n".encode())
            file.flush()
            os.fsync(descriptor)
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        os.unlink(draft)


def _explain(problem: OSError) -> str:
    if isinstance(problem, FileNotFoundError):
        return "there is none; a kernel makes it when it first starts"
    if problem.errno == errno.ELOOP:
        return "it is a link; it must be the file itself"
    if isinstance(problem, PermissionError):
        return "this user may not read it; only the user who runs the kernel may"
    return problem.strerror or str(problem)


def _distrust(status: os.stat_result) -> str | None:
    """Return why the file must not be used, or None."""
    if not stat.S_ISREG(status.st_mode):
        return "it is no regular file"
    if status.st_uid != os.geteuid():
        return f"it belongs to user {status.st_uid}, not to user {os.geteuid()}"
    if status.st_mode & 0o077:
        mode = stat.S_IMODE(status.st_mode)
        return f"others can read it (mode {mode:04o}): chmod 600, or remove it for a new one"
    return None
