"""Rates and durations as people type them: ``1000/s``, ``90/min``, ``20ms``, ``1.5s``.

Not actors/cli/units.py, which shows numbers; this reads them.
"""

from __future__ import annotations

import math
import re

from ipc.errors import BadLoadError

SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_NUMBER = r"(?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)"
_RATE = re.compile(rf"{_NUMBER}\s*/\s*(?P<unit>[a-z]+)")
_DURATION = re.compile(rf"{_NUMBER}\s*(?P<unit>[a-z]+)")


def parse_rate(what: str, text: str) -> float:
    """Return requests per second, from a rate (``500/s``) or the time of one (``2ms``).

    Raises:
        BadLoadError: neither, or not above 0.
    """
    per_second = _quantity(_RATE, text)
    if per_second is not None:
        number, unit_s = per_second
        return _positive(what, text, number / unit_s)
    return 1 / parse_duration(what, text)


def parse_duration(what: str, text: str) -> float:
    """Return seconds.

    Raises:
        BadLoadError: no duration with a unit, or not above 0.
    """
    found = _quantity(_DURATION, text)
    if found is None:
        raise BadLoadError(what=what, value=text, needs="a number with a unit: 1000/s, 20ms, 2min")
    number, unit_s = found
    return _positive(what, text, number * unit_s)


def _quantity(pattern: re.Pattern[str], text: str) -> tuple[float, float] | None:
    """Return number and seconds of the unit; None where the text is something else."""
    match = pattern.fullmatch(text.strip())
    if match is None or match["unit"] not in SECONDS:
        return None
    return float(match["number"]), SECONDS[match["unit"]]


def _positive(what: str, text: str, value: float) -> float:
    # The reciprocal too: it is a service time, and 1e-320/s has none.
    if not (value > 0 and math.isfinite(value) and math.isfinite(1 / value)):
        raise BadLoadError(what=what, value=text, needs="a number above 0")
    return value
