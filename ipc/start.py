"""What an agent process is started with, and how our own processes are started at all.

A StartRequest crosses two boundaries: kernel -> zygote (msgpack over a socketpair) and
zygote -> forked child (memory), where ``actors.process.run_agent`` takes it.

``own_python`` keeps user code from shadowing ours: neither the working directory nor
``PYTHONPATH`` stands before our packages when a process of ours imports them.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypedDict

import msgpack

from ipc.protocol import SpawnSpec

PACKAGE_ROOT = str(Path(__file__).resolve().parent.parent)

MARKER_NAME = "LLMOS_AGENT"

# argv: our root, a module of ours with a ``main``, its arguments. While it imports, the collector
# would look through what is made for good: an eighth of all that a kernel's imports take.
_BOOT = (
    "import gc, sys; gc.disable(); sys.path.insert(0, sys.argv[1]); "
    "from importlib import import_module; sys.argv[:] = sys.argv[2:]; "
    "main = import_module(sys.argv[0]).main; gc.enable(); sys.exit(main())"
)


class GroupRecipe(TypedDict):
    """The control group that an agent makes, and enters before it runs."""

    directory: str
    files: dict[str, str]  # of the group, with what is to be written into them


@dataclass(frozen=True, slots=True)
class StartRequest:
    """Everything a forked child needs in order to become its agent."""

    actor: int
    incarnation: int
    token: str  # proves this incarnation in HELLO
    name: str
    spec: SpawnSpec
    endpoint: str  # of the kernel, e.g. ipc:///run/...
    home: str  # the kernel's state directory, for messages to people
    log_path: str  # stdout and stderr are appended to it
    grace_s: float  # how long to look for a kernel before giving up
    lease_s: float  # how long its event loop may stand still, if its class does not say
    group: GroupRecipe | None = None

    def to_bytes(self) -> bytes:
        """Return the request as msgpack."""
        packed: bytes = msgpack.packb(asdict(self))
        return packed

    @classmethod
    def from_bytes(cls, data: bytes) -> StartRequest:
        """Return the request a peer packed. Raises ValueError if it is not one."""
        values: Any = msgpack.unpackb(data)
        wanted = {field.name for field in fields(cls)}
        if not isinstance(values, dict) or set(values) != wanted:
            raise ValueError(f"a start request has the fields {sorted(wanted)}")
        return cls(**values)


def agent_marker(actor: int, incarnation: int, home: str) -> str:
    """Return NAME=value, in the environment of all that an agent executes.

    By it the kernel finds what a dead agent has left behind.
    """
    return f"{MARKER_NAME}={actor}.{incarnation}@{home}"


def own_python(module: str, *arguments: str) -> list[str]:
    """Return the command line that runs ``module.main()`` of ours in a new interpreter."""
    return [sys.executable, "-P", "-c", _BOOT, PACKAGE_ROOT, module, *arguments]
