"""What it takes to ask the kernel for a pool: the members' spec, and how they are to be used.

The options are those of ``spawn`` but ``restart``, and those of ``PoolOptions``. Checked are the
class and its arguments; the rest the kernel checks (kernel/pools/pool_calls.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from actors.spawning import NameClass, make_spec
from ipc.errors import UsageError

SPEC_OPTIONS = frozenset(
    {
        "budget",  # of the pool, for all members together; the others are each member's
        "cpu_limit",
        "cwd",
        "environment",
        "mailbox_bytes",
        "mailbox_messages",
        "max_attempts",
        "name",
        "priority",
        "reserve",
        "rlimits",
        "weight",
    }
)


class PoolOptions(TypedDict, total=False):
    """How a pool is kept and used; see ``Actor.spawn_pool``."""

    minimum: int
    maximum: int
    balance: str
    skills: Sequence[str] | Sequence[Sequence[str]]
    high: float
    low: float
    shrink_after_s: float


POOL_OPTIONS = frozenset(PoolOptions.__annotations__)


def pool_arguments(
    target: type[Any] | str,
    args: tuple[Any, ...],
    rest: Mapping[str, Any],
    naming: NameClass,
) -> dict[str, Any]:
    """Return the arguments of the system call ``pool_create``.

    rest: options of the pool and of its members; what is neither is the constructor's.
    Raises:
        BadSpecError: the target names no class. SchemaError: the arguments do not fit it.
    """
    if "restart" in rest:
        raise UsageError(reason="members of a pool are always restarted: leave restart out")
    pool = {key: rest[key] for key in POOL_OPTIONS & rest.keys() if rest[key] is not None}
    options = {key: rest[key] for key in SPEC_OPTIONS & rest.keys()}
    own = {key: rest[key] for key in rest.keys() - POOL_OPTIONS - SPEC_OPTIONS}
    if "skills" in pool:
        pool["skills"] = [_words(skill) for skill in pool["skills"]]
    return {"spec": make_spec(target, args, own, naming=naming, **options), **pool}


def _words(skill: Any) -> Any:
    return skill if isinstance(skill, str) else list(skill)
