"""What a driver may call on the core, as a type; the core itself is kernel/core.py.

One loop turn of a driver: ``begin(now)``, any number of ``receive`` / ``process_*`` calls,
``finish()``; commit ``output.changes``; then send ``output.frames`` and run the commands.
"""

from __future__ import annotations

from typing import Protocol

from ext.wire import Envelope
from kernel.output import Output
from kernel.resources.samples import Samples
from kernel.traffic import TraceReport


class CoreInputs(Protocol):
    """The deterministic state machine, seen from outside. All times in nanoseconds."""

    def begin(self, monotonic_ns: int, wall_ns: int) -> None:
        """Open a loop turn; due timers fire here."""
        ...

    def receive(self, route: bytes, envelopes: list[Envelope]) -> None:
        """Take one decoded batch from the connection ``route``."""
        ...

    def process_started(self, actor: int, incarnation: int, pid: int, start_time: int) -> None:
        """A StartProcess worked."""
        ...

    def process_exited(
        self, actor: int, incarnation: int, reason: str, cpu_ns: int | None = None
    ) -> None:
        """A process is gone (or could not be started). reason: "exit 0", "signal 9", ...

        cpu_ns: all the CPU time that it has used, if somebody has waited for it.
        """
        ...

    def process_inspected(
        self, actor: int, incarnation: int, *, is_stopped: bool, wants_cpu: bool, cpu_ns: int
    ) -> None:
        """Answer an InspectProcess. cpu_ns: used so far by all threads of the process."""
        ...

    def storage(self, free_bytes: int) -> None:
        """Tell how much room the journal's disk has (asked about once a second)."""
        ...

    def sampled(self, samples: Samples) -> None:
        """Tell what was seen of the machine and of agents' processes (about once a second)."""
        ...

    def recorded(self, report: TraceReport) -> None:
        """Tell how the file of recorded traffic does, when that has changed."""
        ...

    def request_shutdown(self) -> None:
        """Stop all agents in order, then emit Shutdown (SIGTERM, ``llmos down``)."""
        ...

    def finish(self) -> Output:
        """Close the loop turn and return what it produced."""
        ...

    def statistics(self) -> dict[str, int]:
        """Return the counters (asked about once a second, for the log)."""
        ...

    def next_due_ns(self) -> int | None:
        """Return the monotonic time at which ``begin`` has something to do, or None."""
        ...
