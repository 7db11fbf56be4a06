"""Virtual processes of agents: started late or not at all, killed, watched.

A kernel hears of an exit only if it has started or watches that very process, as with pidfds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.output import InspectProcess, KillProcess, StartProcess
from tests.simulator.agent import VirtualAgent
from tests.simulator.plan import MS, S

if TYPE_CHECKING:
    from tests.simulator.simulation import Simulation

Key = tuple[int, int]  # actor, incarnation


class Processes:
    """See the module head."""

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation
        self.world = simulation.world
        self.living: dict[Key, VirtualAgent] = {}
        self._dead: dict[Key, str] = {}  # with the reason
        self._num_started = 0
        self._starting: dict[Key, bool] = {}  # True: kill it as soon as it is there

    def start(self, command: StartProcess) -> None:
        """Fork, after a while."""
        key = (command.actor, command.incarnation)
        self.world.note("START", *key, command.name)
        self._starting[key] = False
        delay = self.world.rng.choice([MS, 5 * MS, 400 * MS if self.world.has_faults else MS])
        self.world.after(delay, self._started, command)

    def _started(self, command: StartProcess) -> None:
        key = (command.actor, command.incarnation)
        is_doomed = self._starting.pop(key)
        if is_doomed or self.world.chance(self.simulation.plan.start_failures):
            self._dead[key] = "could not be started"
            self._tell_exit(key)
            return
        self._num_started += 1
        agent = VirtualAgent(self.simulation, command, pid=self._num_started)
        self.living[key] = agent
        self.simulation.kernel.tell("started", *key, agent.pid, agent.pid)
        self.world.after(self.world.rng.randint(0, 20 * MS), agent.connect)

    def kill(self, command: KillProcess) -> None:
        """SIGKILL by the kernel; one that does not know the process only says it is gone."""
        key, kernel = (command.actor, command.incarnation), self.simulation.kernel
        if key in self._starting and key in kernel.watched:
            self._starting[key] = True
            return
        if key not in kernel.watched and command.pid is None:
            kernel.tell("exited", *key, "gone")
            return
        kernel.watched[key] = None
        if key in self.living:
            self.crash(self.living[key], "signal 9")
        else:
            self._tell_exit(key)

    def watch(self, actor: int, incarnation: int) -> None:
        """A new kernel watches a process of the one before."""
        if (actor, incarnation) not in self.living:
            self._tell_exit((actor, incarnation))

    def inspect(self, command: InspectProcess) -> None:
        """Say what a process does: one that stands still blocks or spins, others sleep."""
        key = (command.actor, command.incarnation)
        if key in self.living:
            spins = self.living[key].is_seized and self.world.rng.random() < 0.5
            self.simulation.kernel.tell("inspected", *key, spins, self.world.now_ns)

    def crash(self, agent: VirtualAgent, reason: str = "signal 9") -> None:
        """The process is gone at this instant."""
        if not agent.is_alive and not agent.is_seized:
            return
        self.world.note("EXIT", agent.id, agent.incarnation, reason)
        agent.die()
        key = (agent.id, agent.incarnation)
        self.living.pop(key, None)
        self._dead[key] = reason
        delay = self.world.rng.choice([0, MS, S if self.world.has_faults else 0])
        self.world.after(delay, self._tell_exit, key)

    def _tell_exit(self, key: Key) -> None:
        kernel = self.simulation.kernel
        if key in kernel.watched and key not in self._starting:
            kernel.tell("exited", *key, self._dead.get(key, "not found"))
