"""Drives the real core over a journal, and kills it: between loop turns, before a commit,
between commit and emission, and half-way through the emission.

It keeps the output rule: a frame or command leaves only after its write set is committed, but
for grants, whose write set may wait for the next commit (kernel/output.py). All that a killed
kernel had not committed is gone; the next one recovers from the journal alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ipc.envelope import decode
from kernel.core import Core
from kernel.host.group_commit import GroupCommit
from kernel.journal.in_memory import MemoryJournal
from kernel.output import (
    InspectProcess,
    KillProcess,
    Output,
    Shutdown,
    StartProcess,
    WatchProcess,
)
from kernel.records import Snapshot, WriteSet
from kernel.resources.samples import AgentSample, GpuSample, NodeSample, Samples
from tests.simulator.link import Link
from tests.simulator.plan import MS, Plan

if TYPE_CHECKING:
    from tests.simulator.simulation import Simulation

TOKEN = "operator"
MakeCore = Callable[..., Core]


class Killed(Exception):
    """The kernel has died in the midst of a loop turn."""


class KernelHost:
    """See the module head."""

    def __init__(self, simulation: Simulation, make_core: MakeCore = Core) -> None:
        self.simulation = simulation
        self.world = simulation.world
        self.plan: Plan = simulation.plan
        self.journal = MemoryJournal()
        self.epoch = 0
        self.num_turns = 0
        self.is_alive = False
        self.core: Core | None = None
        self.watched: dict[tuple[int, int], None] = {}  # processes whose exit it will hear of
        self.counters: dict[str, int] = {}  # of dead cores
        self._make_core = make_core
        self._inbox: list[tuple[str, Any]] = []
        self._routes: dict[bytes, Link] = {}
        self._num_routes = 0
        self._is_turn_due = False
        self._wake_ns = 0
        self._doom: str | None = None
        self._phase: str | None = None  # of this loop turn, in which it is to die
        self._sets: list[WriteSet] = []  # of loop turns that are not committed yet
        self._group = GroupCommit(_Door(self), self.emit)

    # --- life -----------------------------------------------------------------------------

    def start(self) -> None:
        """Begin a new kernel epoch on the journal."""
        if self.is_alive:
            return
        world = self.world
        self.epoch += 1
        if self.epoch > 1:
            self.journal.reopen()
        self.watched.clear()
        self._inbox.clear()
        self._routes.clear()
        self._sets.clear()
        self._phase = None
        self._group = GroupCommit(_Door(self), self.emit)
        self.is_alive = True
        self._is_turn_due = False
        self.core = self.recovered_core(self.epoch)
        self.core.sampled(self.machine())
        world.note("KERNEL epoch", self.epoch)
        self.simulation.checker.on_epoch(self.core)
        self._turn_soon(0)

    def machine(self) -> Samples:
        """Return a look at the machine: with one CPU or some, with a GPU or without.

        When calm, it has room again for what was reserved: members of pools are started anew.
        """
        rng = self.world.rng
        gpu = GpuSample(0, "gpu", "a GPU", 1000, rng.randint(0, 1000), rng.random())
        node = NodeSample(
            taken_ns=self.world.now_ns,
            cpus=4,
            cpu_millis=4000 if not self.world.has_faults else rng.choice([500, 1000, 4000]),
            cpu_busy_ns=self.world.now_ns,
            memory_bytes=1 << 30,
            memory_used_bytes=rng.randint(0, 1 << 30),
            disk="/",
            disk_bytes=1 << 40,
            disk_free_bytes=1 << 39,
            gpus=(gpu,) if not self.world.has_faults or rng.random() < 0.7 else (),
        )
        agents = [
            AgentSample(agent.id, agent.incarnation, self.world.now_ns, 4096, 1, 1)
            for agent in self.simulation.processes.living.values()
        ]
        return Samples(node, tuple(agents))

    def recovered_core(self, epoch: int) -> Core:
        """Return a core recovered from the journal as it is."""
        return self._make_core(
            self.plan.config,
            self.journal.load(),
            generation=1,
            epoch=epoch,
            rng=random.Random(epoch),
            operator_token=TOKEN,
            monotonic_ns=self.world.now_ns,
            wall_ns=self.world.wall_ns,
            facts=lambda: {"pid": epoch},
        )

    def kill(self, phase: str) -> None:
        """SIGKILL at a phase of a loop turn: now, or in the next one that has read something."""
        if not self.is_alive:
            return
        if phase == "between":
            self._die(phase)
        else:
            self._doom = phase

    def _die(self, phase: str) -> None:
        world = self.world
        world.note("KERNEL killed", phase)
        self.is_alive = False
        self._doom = None
        self.note_counters()
        self.core = None
        for link in self._routes.values():
            link.break_off(tell_after_ns=world.rng.randint(MS, 200 * MS))
        world.after(world.rng.choice([MS, 100 * MS, 1500 * MS]), self.start)

    # --- input ----------------------------------------------------------------------------

    def new_route(self, link: Link) -> bytes:
        """Register a connection."""
        self._num_routes += 1
        route = b"r%d" % self._num_routes
        self._routes[route] = link
        return route

    def deliver(self, route: bytes, parts: list[Any]) -> None:
        """A batch has arrived at the socket."""
        if self.is_alive:
            self._inbox.append(("frames", (route, parts)))
            self._turn_soon(self.world.rng.choice([0, 50_000, MS]))

    def tell(self, event: str, *facts: Any) -> None:
        """Something of the process side has happened: started or exited."""
        if self.is_alive:
            self._inbox.append((event, facts))
            self._turn_soon(0)

    def _turn_soon(self, delay_ns: int) -> None:
        if not self._is_turn_due:
            self._is_turn_due = True
            self.world.after(delay_ns, self._turn, self.epoch)

    def _wake(self, epoch: int, due_ns: int) -> None:
        if epoch == self.epoch and due_ns == self._wake_ns:
            self._turn_soon(0)

    # --- one loop turn --------------------------------------------------------------------

    def _turn(self, epoch: int) -> None:
        if epoch != self.epoch or self.core is None:
            return
        core = self.core
        self._is_turn_due = False
        self.num_turns += 1
        inbox, self._inbox = self._inbox[:64], self._inbox[64:]
        core.begin(self.world.now_ns, self.world.wall_ns)
        for event, facts in inbox:
            self._feed(core, event, facts)
        output = core.finish()
        self._phase = self._doom if any(event == "frames" for event, _ in inbox) else None
        if self._phase == "before commit":
            self._die("before commit")
            return
        try:
            self.settle(core, output)
        except Killed:
            return
        if self._inbox:
            self._turn_soon(0)
        self._plan_wake(core)

    def _feed(self, core: Core, event: str, facts: Any) -> None:
        if event == "frames":
            route, parts = facts
            batch = decode(parts)
            for envelope in batch:
                facts = (envelope.kind, envelope.sequence, "t", envelope.turn)
                more = ("c", envelope.correlation, "f", envelope.flags)
                self.world.note("K<", route, *facts, *more)
                self.simulation.checker.on_input(core, route, envelope)
            core.receive(route, batch)
        elif event == "started":
            core.process_started(*facts)
        elif event == "exited":
            core.process_exited(*facts)
        elif event == "inspected":
            actor, incarnation, spins, cpu_ns = facts
            core.process_inspected(
                actor, incarnation, is_stopped=False, wants_cpu=spins, cpu_ns=cpu_ns
            )
        elif event == "sampled":
            core.sampled(*facts)
        else:
            core.storage(*facts)

    def settle(self, core: Core, output: Output) -> None:
        """Hand the output to what commits and emits, as the daemon does."""
        self._sets.append(copy_of(output.changes))
        self.simulation.checker.on_turn(core, output.changes)
        is_busy = bool(self._inbox) or self.world.chance(0.2)
        if is_busy:
            self._turn_soon(self.world.rng.choice([0, 20_000]))
        self._group.add(output, self.world.now_ns, is_busy=lambda: is_busy)
        if self._group.due_ns is not None:
            self.world.at(self._group.due_ns, self._turn_soon, 0)

    def flush(self) -> None:
        """Commit what waits for the next commit."""
        self._group.flush()

    def commit(self, changes: WriteSet) -> None:
        """Commit to the journal; a doomed kernel dies right after."""
        assert self.core is not None
        sets, self._sets = self._sets, []
        self.simulation.checker.read(self.core, sets)
        self.journal.commit(changes)
        self.simulation.checker.on_commit(self.core)
        if self._phase == "after commit":
            self._die("after commit")
            raise Killed

    def emit(self, output: Output) -> None:
        """Let frames and commands go; a doomed kernel dies half-way."""
        actions: list[tuple[Any, ...]] = [(self._send, *frame) for frame in output.frames]
        actions += [(self._command, command) for command in output.commands]
        is_doomed = self._phase == "emitting"
        stop = self.world.rng.randint(0, len(actions)) if is_doomed else len(actions)
        for action, *arguments in actions[:stop]:
            action(*arguments)
        if is_doomed and self.is_alive:
            self._die("emitting")
        if not self.is_alive:
            raise Killed

    def _send(self, route: bytes, batch: list[Any]) -> None:
        for envelope in batch:
            self.world.note(
                "K>",
                route,
                envelope.kind,
                envelope.sequence,
                "ack",
                envelope.acknowledged,
                "m",
                envelope.message,
                "t",
                envelope.turn,
                "c",
                envelope.correlation,
            )
        link = self._routes.get(route)
        if link is not None:
            link.to_peer(batch)

    def _command(self, command: object) -> None:
        match command:
            case StartProcess():
                self.watched[command.actor, command.incarnation] = None
                self.simulation.processes.start(command)
            case KillProcess():
                self.simulation.processes.kill(command)
            case WatchProcess():
                self.watched[command.actor, command.incarnation] = None
                self.simulation.processes.watch(command.actor, command.incarnation)
            case InspectProcess():
                self.simulation.processes.inspect(command)
            case Shutdown():
                self.simulation.on_shutdown()

    def _plan_wake(self, core: Core) -> None:
        due_ns = core.next_due_ns()
        if due_ns is not None and due_ns != self._wake_ns:
            self._wake_ns = due_ns
            self.world.at(due_ns, self._wake, self.epoch, due_ns)

    def note_counters(self) -> None:
        """Add the living core's counters to those of the dead ones."""
        if self.core is not None:
            for name, value in self.core.statistics().items():
                self.counters[name] = self.counters.get(name, 0) + value

    def leave(self) -> None:
        """A shutdown is complete; somebody starts the kernel again after a while."""
        self._die("shutdown")


class _Door:
    """The journal, as the group commit sees it."""

    def __init__(self, host: KernelHost) -> None:
        self._host = host

    def commit(self, changes: WriteSet) -> None:
        """See kernel.records.Journal."""
        self._host.commit(changes)

    def load(self) -> Snapshot:
        """See kernel.records.Journal."""
        return self._host.journal.load()

    def close(self) -> None:
        """Nothing to release."""


def copy_of(changes: WriteSet) -> WriteSet:
    """Return a set that says the same; merging uses the given one up."""
    copy = WriteSet()
    for table, rows in changes.tables.items():
        for key, row in rows.items():
            if row is None:
                copy.delete(table, key)
            else:
                copy.put(table, key, row)
    return copy
