"""How many examples a property is tried with.

A usual run judges a change by a third of them, always the same ones (tests/conftest.py): trying
them is a good part of its CPU time. ``EXPLORE=1``, as ``make explore`` sets it, tries all, and
others each time.
"""

from __future__ import annotations

import os

EXPLORES = "EXPLORE" in os.environ
DEFAULT = 100  # of a property that names no number: hypothesis' own
_USUAL_SHARE = 3


def trials(number: int) -> int:
    """Return how many of this many examples this run tries."""
    return number if EXPLORES else max(1, number // _USUAL_SHARE)
