"""Numbers as people read them: bytes, durations, times, counts."""

from __future__ import annotations

import time
from typing import Any

NANO = 1_000_000_000


def size(num_bytes: float | None) -> str | None:
    """Return bytes with a binary unit, three digits."""
    if num_bytes is None:
        return None
    value = float(num_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def whole(number: float | None) -> str | None:
    """Return a number without its fraction."""
    return None if number is None else f"{number:.0f}"


def duration(seconds: float) -> str:
    """Return a duration in its two largest units."""
    if seconds < 60:
        return f"{max(seconds, 0):.0f}s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours < 24 else f"{hours // 24}d{hours % 24:02}h"


def since(wall_ns: int | None) -> str | None:
    """Return how long ago a wall-clock time was."""
    return None if wall_ns is None else duration((time.time_ns() - wall_ns) / NANO)


def moment(wall_ns: int | None) -> str | None:
    """Return a wall-clock time in the local zone."""
    if wall_ns is None:
        return None
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(wall_ns / NANO))


def dash(value: Any) -> str:
    """Return the value's text; a dash stands for None and for nothing."""
    return "-" if value is None or value == "" else str(value)
