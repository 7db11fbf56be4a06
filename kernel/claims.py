"""What peers say of themselves and of actors to be spawned, checked before it is believed.

A peer with a valid token may still be broken or hostile: nothing it says may stop the kernel.
Types come from the TypedDicts of ipc/protocol.py, ranges are checked here.

Cost: about 20 us a hello or spawn. Pure.
"""

from __future__ import annotations

import unicodedata
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ipc.budget import MAX_AMOUNT, check_resource
from ipc.errors import (
    BadBudgetError,
    BadFrameError,
    BadPolicyError,
    BadResourceError,
    HandshakeError,
    UnknownCallError,
)
from ipc.protocol import PROTOCOL_VERSION, RLIMITS, Declares, Hello, SpawnSpec
from ipc.resources import MAX_AMOUNT as MAX_RESERVED
from ipc.resources import show_amount
from kernel.supervisor import Restart, Strategy

MAX_DEADLINE_NS = 10 * 365 * 86_400 * 1_000_000_000  # ten years; a wall clock still fits 63 bits
MAX_CONCURRENCY = 4096
MAX_LIMIT = 1 << 40
OVERFLOWS = ("wait", "dead_letter")
# Of a share. What one is given is counted over their weight, in a float that all who come back from
# idleness are lifted to (kernel/policy/fair_share.py): beyond these it could not tell turns apart.
MIN_WEIGHT, MAX_WEIGHT = 0.001, 1000.0

_HELLO = TypeAdapter(Hello)
_SPEC = TypeAdapter(SpawnSpec)


def read_hello(body: Any) -> Hello:
    """Return a peer's claim.

    Raises:
        BadFrameError: it is not a hello. HandshakeError: another protocol, or an unknown role.
    """
    try:
        hello = _HELLO.validate_python(body, strict=True)
    except ValidationError as error:
        raise BadFrameError(reason=f"not a hello: {_explain(error)}") from None
    if hello["protocol"] != PROTOCOL_VERSION:
        reason = f"protocol {hello['protocol']}, the kernel speaks {PROTOCOL_VERSION}"
        raise HandshakeError(reason=reason)
    if hello["role"] not in ("agent", "client"):
        raise HandshakeError(reason=f"unknown role {hello['role']!r}")
    problem = _problem_of(hello.get("declares", {}))
    if problem or hello["taken"] < 0 or not 0 <= hello.get("pid", 1) < 1 << 32:
        raise BadFrameError(reason=problem or "a count or a pid out of range")
    return hello


def _problem_of(declares: Declares) -> str:
    """Return what is wrong with an actor's declarations, or an empty string."""
    if not 1 <= declares.get("concurrency", 1) <= MAX_CONCURRENCY:
        return f"concurrency is 1 to {MAX_CONCURRENCY}"
    if not 0 < declares.get("lease_s", 1.0) < 1e9:
        return "lease_s is a positive number of seconds"
    if not 0 < declares.get("period_s", 1.0) < 1e9:
        return "period_s is a positive number of seconds"
    if not 0 <= declares.get("intensity", 0) <= MAX_LIMIT:
        return "intensity is a number of restarts"
    if declares.get("strategy", "one_for_one") not in [strategy.value for strategy in Strategy]:
        return f"strategy is {' | '.join(strategy.value for strategy in Strategy)}"
    for subscription in declares.get("subscriptions", ()):
        if len(subscription) != 3 or subscription[2] not in OVERFLOWS:
            return f"a subscription is [topic, handler, {' | '.join(OVERFLOWS)}]"
    return ""


def read_spec(value: Any) -> SpawnSpec:
    """Return the spec of an actor to be spawned.

    Raises:
        UnknownCallError: it does not fit. BadBudgetError: unknown resource, or negative.
        BadPolicyError: its weight is out of range. BadResourceError: a reservation means nothing.
    """
    try:
        spec = _SPEC.validate_python(value, strict=True)
    except ValidationError as error:
        raise UnknownCallError(call="spawn", problem=_explain(error)) from None
    problem = _problem_of_spec(spec)
    if problem:
        raise UnknownCallError(call="spawn", problem=problem)
    for resource, amount in spec.get("budget", {}).items():
        check_resource(resource)
        if not 0 <= amount <= MAX_AMOUNT:
            raise BadBudgetError(resource=resource, problem=f"{amount} is not from 0 to 2**62")
    _check_reservation(spec)
    weight = spec.get("weight", 1.0)
    if not MIN_WEIGHT <= weight <= MAX_WEIGHT:
        needs = f"from {MIN_WEIGHT:g} to {MAX_WEIGHT:g}"
        raise BadPolicyError(policy="fair_share", what="weight", value=weight, needs=needs)
    return spec


def _check_reservation(spec: SpawnSpec) -> None:
    """Raise BadResourceError for an amount out of range, or above the agent's own limit."""
    reserved = spec.get("reserve", {})
    for name, amount in reserved.items():
        if not 0 < amount <= MAX_RESERVED:
            problem = f"{amount} cannot be reserved: 1 to {MAX_RESERVED} units can"
            raise BadResourceError(name=name, problem=problem)
    limits = {"cpu": spec.get("cpu_limit"), "memory": spec.get("rlimits", {}).get("memory_bytes")}
    for name, limit in limits.items():
        if limit is not None and reserved.get(name, 0) > limit:
            most, wanted = show_amount(name, limit), show_amount(name, reserved[name])
            problem = f"the agent's limit is {most}, so {wanted} cannot be reserved for it"
            raise BadResourceError(name=name, problem=problem)


def _problem_of_name(name: str) -> str:
    if not 0 < len(name) <= 255:
        return "a name has 1 to 255 characters"
    if name.isdecimal():
        return f"a name is not a number alone, as {name!r}: numbers are the ids of actors"
    if any(unicodedata.category(letter) == "Cc" for letter in name):
        return f"a name has no control characters, as {name!r} has: it stands in tables and logs"
    return ""


def _problem_of_spec(spec: SpawnSpec) -> str:
    if not spec.get("qualname"):
        return "the spec needs at least a qualname"
    if not (spec.get("path") or spec.get("module")):
        return "the spec needs a path or a module"
    kinds = [kind.value for kind in Restart]
    if spec.get("restart") not in (None, *kinds):
        return f"restart is {' | '.join(kinds)}, not {spec['restart']!r}"
    if spec.get("name") is not None and (problem := _problem_of_name(spec["name"] or "")):
        return problem
    for name, value in spec.get("environment", {}).items():
        if not name or "=" in name or "\0" in name + value:
            return f"no environment can hold {name!r} = {value!r}"
    rlimits = spec.get("rlimits", {})
    if unknown := sorted(set(rlimits) - set(RLIMITS)):
        return f"rlimits are {', '.join(RLIMITS)}, not {unknown[0]!r}"
    limits: dict[str, int | None] = {
        "mailbox_messages": spec.get("mailbox_messages"),
        "mailbox_bytes": spec.get("mailbox_bytes"),
        "max_attempts": spec.get("max_attempts"),
        "cpu_limit": spec.get("cpu_limit"),
        **rlimits,
    }
    for name, limit in limits.items():
        if limit is not None and not 1 <= limit <= MAX_LIMIT:
            return f"{name} is {limit}, and limits are 1 to {MAX_LIMIT}"
    if not 0 <= spec.get("priority", 0) <= 7:
        return "a priority is 0 to 7"
    return ""


def check_deadline(deadline_ns: int) -> None:
    """Raise BadFrameError for a deadline that no clock here can hold."""
    if deadline_ns > MAX_DEADLINE_NS:
        raise BadFrameError(reason="a deadline or delay is at most ten years")


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
