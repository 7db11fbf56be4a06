"""The SDK: write agents, and talk with them from outside.

Names are loaded at first use: the command line, which lives in this package, needs few of them
and must start fast (actors/cli/main.py).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from actors.actor import Actor, ChildExit, Down
    from actors.handlers import receive, subscribe
    from actors.reference import ActorRef

__all__ = ["Actor", "ActorRef", "ChildExit", "Down", "receive", "subscribe"]

_MODULES = {
    "Actor": "actors.actor",
    "ActorRef": "actors.reference",
    "ChildExit": "actors.actor",
    "Down": "actors.actor",
    "receive": "actors.handlers",
    "subscribe": "actors.handlers",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value
