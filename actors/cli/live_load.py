"""What the running kernel has to do: turns that come a second, and how long one holds a slot.

Two looks at its counters, a while apart. Turns that ended in between and messages that came to wait
are what arrived; the time slots were held, over the turns that ended, is a turn's service. What
waited before is no part of the load: it is told beside it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from actors.cli.connection import Where, open_client
from actors.planning.queueing import Load
from ipc.errors import BadLoadError

if TYPE_CHECKING:
    from actors.client import Client


class Measured(NamedTuple):
    """The load, and the messages that waited or were being handled at the end."""

    load: Load
    waiting: int


class Look(NamedTuple):
    """The kernel's counters at one moment. ended: turns."""

    at_s: float
    ended: int
    busy_us: int
    waiting: int


def look(client: Client) -> Look:
    """Return the counters now."""
    counters, status = client.system("statistics"), client.system("status")
    ended = counters.get("turns_committed", 0) + counters.get("turns_failed", 0)
    pending = status["pending_messages"]
    return Look(time.monotonic(), ended, counters["turn_slot_us"], pending)


def load_between(first: Look, last: Look) -> Load:
    """Return the load between two looks.

    Raises:
        BadLoadError: no turn ended, none held a slot for a microsecond, or nothing came.
    """
    seconds, ended = last.at_s - first.at_s, last.ended - first.ended
    busy_s = (last.busy_us - first.busy_us) / 1e6
    if ended <= 0 or busy_s <= 0:
        raise BadLoadError(
            what="the kernel's load",
            value=f"{ended} turns in {seconds:.1f} s",
            needs="some work: let agents run, or give a longer --window",
        )
    arrived = ended + last.waiting - first.waiting
    if arrived <= 0:
        raise BadLoadError(
            what="the kernel's load",
            value=f"no new message in {seconds:.1f} s ({ended} turns done, {last.waiting} wait)",
            needs="what comes: send messages meanwhile, or give a longer --window",
        )
    return Load(arrived / seconds, ended / busy_s)


def measured_load(where: Where, window_s: float) -> Measured:
    """Watch the kernel for that long and return its load, and what waits.

    Raises:
        KernelUnavailableError: none runs there.
        BadLoadError: it had nothing to do.
    """
    with open_client(where) as client:
        first = look(client)
        time.sleep(window_s)
        last = look(client)
    return Measured(load_between(first, last), last.waiting)
