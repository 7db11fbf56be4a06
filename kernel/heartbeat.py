"""Notices an agent whose whole process stands still within a turn.

A stuck event loop is told by the agent's own watchdog thread (TICK, kernel/handshake.py). That
thread is silent too when something holds the interpreter for ever: a C extension that spins or
blocks without releasing it. So an agent that has open turns and has said nothing for a tenth of
its lease is asked for an acknowledgement, which its event loop gives at once. While the answer
is missing, the driver is asked each second what the process does, and only time counts in which
it could have answered:

  * it was asleep, all its threads: the whole second
  * some thread wanted a CPU: the CPU time the process got, so a starved one loses nothing
  * it was stopped (a signal, a debugger): nothing
  * the kernel itself did not run: nothing beyond two seconds

When that adds up to the lease, the process is killed as one that crashed. Where nothing
disturbs, this takes at most 1.1 leases and 4 s from the last sign of life (0.1 of a lease is
taken as 1 s at least).

Cost: one frame and its answer per agent in a turn that is silent, each tenth of its lease.
"""

from __future__ import annotations

from dataclasses import dataclass

from ext.wire import Envelope
from ipc.protocol import Flag, Kind
from kernel.actor_record import ActorRecord
from kernel.output import InspectProcess
from kernel.state import KernelState

_SHORTEST_BEAT_NS = 1_000_000_000
_BEATS = 10  # a lease
_LONGEST_STEP_NS = 2_000_000_000  # between two looks; the kernel looks once a second


@dataclass(slots=True)
class Silence:
    """An agent with open turns, since it was last heard."""

    sign: tuple[int, int, int]  # incarnation, connection, envelopes taken: another one is a sign
    since_ns: int
    asked_ns: int = 0  # when last; 0: not yet
    seen_ns: int = 0  # when it was last looked at; 0: not yet
    cpu_ns: int = 0  # that it had used then
    counted_ns: int = 0  # in which it could have answered


class Heartbeat:
    """See the module head. ``sweep`` is called once a second."""

    def __init__(self, state: KernelState) -> None:
        self.state = state
        self._silent: dict[int, Silence] = {}

    def heard(self, actor: int) -> None:
        """Its event loop has said something."""
        self._silent.pop(actor, None)

    def sweep(self) -> None:
        """Ask those that are silent, and about those that do not answer."""
        self._silent = {
            record.id: self._look_at(record)
            for record in self.state.actors.values()
            if record.open and record.channel is not None and record.crash_reason is None
        }

    def _look_at(self, record: ActorRecord) -> Silence:
        now_ns = self.state.now_ns
        silence = self._silent.get(record.id)
        if silence is None or silence.sign != _sign_of(record):
            return Silence(_sign_of(record), now_ns)
        if silence.asked_ns:
            self._inspect(record)
        beat_ns = max(_SHORTEST_BEAT_NS, self.lease_ns(record) // _BEATS)
        if now_ns - (silence.asked_ns or silence.since_ns) >= beat_ns:
            silence.asked_ns = now_ns
            self._ask(record)
        return silence

    def _ask(self, record: ActorRecord) -> None:
        if record.route is not None and record.channel is not None:
            last = record.channel.next_sequence - 1
            ask = Envelope(Kind.ACK, 0, record.id, message=last, flags=Flag.WANT_ACK)
            self.state.post_unnumbered(record.route, ask, record)

    def _inspect(self, record: ActorRecord) -> None:
        if record.pid is not None and record.start_time is not None:
            command = InspectProcess(record.id, record.incarnation, record.pid, record.start_time)
            self.state.output.commands.append(command)

    def on_inspected(
        self, actor: int, incarnation: int, *, is_stopped: bool, wants_cpu: bool, cpu_ns: int
    ) -> None:
        """The driver says what a silent process does."""
        record, silence = self.state.actors.get(actor), self._silent.get(actor)
        if record is None or silence is None or record.incarnation != incarnation:
            return
        if record.channel is None or silence.sign != _sign_of(record):
            return
        now_ns = self.state.now_ns
        if silence.seen_ns and not is_stopped:
            step_ns = min(now_ns - silence.seen_ns, _LONGEST_STEP_NS)
            used_ns = max(0, cpu_ns - silence.cpu_ns)
            silence.counted_ns += min(step_ns, used_ns) if wants_cpu else step_ns
        silence.seen_ns, silence.cpu_ns = now_ns, cpu_ns
        if silence.counted_ns >= self.lease_ns(record):
            self._give_up(record)

    def _give_up(self, record: ActorRecord) -> None:
        self._silent.pop(record.id, None)
        self.state.counters.add("leases_expired")
        lease_s = self.lease_ns(record) / 1e9
        reason = f"its process did not answer for {lease_s:g} s in a turn"
        self.state.crashed[record.id] = reason

    def lease_ns(self, record: ActorRecord) -> int:
        """Return how long an actor's event loop may stand still."""
        lease_s: float = record.declares.get("lease_s") or self.state.config.lease_s
        return int(lease_s * 1e9)


def _sign_of(record: ActorRecord) -> tuple[int, int, int]:
    assert record.channel is not None
    return record.incarnation, record.attempt, record.channel.taken
