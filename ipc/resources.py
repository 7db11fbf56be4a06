"""Resources as messages carry them: amounts as people write them, and what ``resources`` answers.

Units: ``cpu`` in thousandths of a CPU, ``memory`` and ``gpu.N`` in bytes, anything else in units of
its own. People write CPUs (``cpu=1.5``) and sizes with a binary unit (``memory=512MiB``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypedDict

from ipc.errors import BadResourceError

MAX_AMOUNT = 1 << 60

_AMOUNT = re.compile(r"(\d+)(?:\.(\d+))?\s*([A-Za-z]*)")
_SIZES = {"": 1, "b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40}


class UseReport(TypedDict):
    """How much of a resource of the machine is used, whoever by (kernel/resources/usage.py)."""

    name: str
    kind: str
    used: float
    capacity: float | None
    share: float | None


class ResourceInfo(TypedDict):
    """One resource that is given out: reserved by agents, or taken by work."""

    name: str
    kind: str  # cpu, memory, gpu, units, slots, engine
    state: str  # active, draining, failed, removed; of an engine also ready, leaving, quarantined
    capacity: int | None  # None: an engine takes what its scheduler admits
    taken: int  # reserved; of slots: running turns; of an engine: requests
    holders: dict[str, int]  # names of agents


class AgentReport(TypedDict, total=False):
    """What an agent's process tree uses, and what it has reserved."""

    actor: int
    name: str
    pid: int | None
    reserved: dict[str, int]
    cpu_share_millis: int | None  # has a right to, when all are busy; None: nobody is weighed
    cpu_millis: int  # thousandths of a CPU, between the last two looks
    cpu_ns: int  # of this incarnation
    rss_bytes: int
    pss_bytes: int | None
    read_per_s: int
    written_per_s: int
    threads: int
    processes: int
    gpu_bytes: int | None


class ResourceReport(TypedDict):
    """Answer of ``resources``."""

    age_ns: int | None  # of the last look; None: there was none yet
    uses: list[UseReport]
    bottleneck: dict[str, Any] | None  # name, share, for_ns: how long it has been near its limit
    resources: list[ResourceInfo]
    agents: list[AgentReport]
    enforcement: str  # how weights and limits are kept on this machine
    look_cost_ns: int  # CPU time of one look


def parse_amount(name: str, value: object) -> int:
    """Return an amount of a resource in its unit.

    value: a number, or text as people write it. Numbers are CPUs for ``cpu``, else units.
    Raises:
        BadResourceError: it is no amount, not a whole number of units, or out of range.
    """
    text = str(value)
    match = _AMOUNT.fullmatch(text.strip())
    if isinstance(value, bool) or match is None:
        raise _bad(name, text, "write 1.5, 512MiB or 3")
    whole, fraction, unit = match[1], match[2] or "", match[3].lower()
    if unit not in _SIZES or (name == "cpu" and unit):
        raise _bad(name, text, "units are KiB, MiB, GiB and TiB, and none for cpu")
    factor = 1000 if name == "cpu" else _SIZES[unit]
    divisor: int = 10 ** len(fraction)
    scaled, rest = divmod(int(whole + fraction) * factor, divisor)
    if rest:
        raise _bad(name, text, "it is no whole number of units")
    if not 0 < scaled <= MAX_AMOUNT:
        raise _bad(name, text, "it must be above 0")
    return scaled


def parse_amounts(values: Mapping[str, object]) -> dict[str, int]:
    """Return amounts by name in their units. Raises BadResourceError."""
    return {name: parse_amount(name, value) for name, value in values.items()}


def show_amount(name: str, amount: int) -> str:
    """Return an amount of a resource as people write it: 1.5 CPUs, 512 MiB, 3."""
    if name == "cpu":
        return "1 CPU" if amount == 1000 else f"{amount / 1000:g} CPUs"
    if name != "memory" and not name.startswith("gpu."):
        return str(amount)
    units = [(factor, unit) for unit, factor in _SIZES.items() if unit and factor <= amount]
    factor, unit = max(units, default=(1, "b"))
    return f"{amount / factor:.2f}".rstrip("0").rstrip(".") + " " + unit.upper().replace("I", "i")


def _bad(name: str, text: str, needs: str) -> BadResourceError:
    return BadResourceError(name=name, problem=f"{text!r} is no amount: {needs}")
