"""What a handler's exception becomes on its way to the asker.

An error of ours keeps its class and fields. Anything else becomes RemoteError: the type's name,
the message, and a traceback of the user's own frames (ours and asyncio's are left out).
"""

from __future__ import annotations

import asyncio
import traceback
from pathlib import Path

from ipc.errors import LLMOSError, RemoteError

_PACKAGES = tuple(
    str(Path(__file__).resolve().parent.parent / name) + "/" for name in ("actors", "ipc", "ext")
)
_OTHERS = (str(Path(asyncio.__file__).parent) + "/", "<frozen importlib")
MAX_TRACEBACK = 32 << 10  # characters
MAX_MESSAGE = 4 << 10


def to_error(error: BaseException, actor: str, handler: str) -> LLMOSError:
    """Return what the asker is to get."""
    if isinstance(error, LLMOSError):
        return error
    return RemoteError(
        type_name=type(error).__qualname__,
        actor=actor,
        handler=handler,
        message=_message(error),
        traceback=user_traceback(error),
    )


def user_traceback(error: BaseException) -> str:
    """Return the traceback, causes included, without frames that are not the user's."""
    whole = traceback.TracebackException.from_exception(error)
    seen: set[int] = set()
    pending = [whole]
    while pending:
        part = pending.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        kept = [frame for frame in part.stack if is_users(frame.filename)]
        part.stack = traceback.StackSummary.from_list(kept)
        pending += [other for other in (part.__cause__, part.__context__) if other is not None]
        pending += getattr(part, "exceptions", None) or []
    text = "".join(whole.format())
    if len(text) > MAX_TRACEBACK:
        half = MAX_TRACEBACK // 2
        text = f"{text[:half]}\n  ... {len(text) - MAX_TRACEBACK} characters ...\n{text[-half:]}"
    return text


def is_users(filename: str) -> bool:
    """Say whether a frame of that file belongs to the user."""
    return not filename.startswith((*_PACKAGES, *_OTHERS))


def _message(error: BaseException) -> str:
    try:
        return str(error)[:MAX_MESSAGE]
    except Exception:  # a user's __str__ may raise anything
        return "(its message cannot be shown)"
