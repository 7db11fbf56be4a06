"""One seed, one history: builds the world, lets it be busy and rough, then calm, and checks.

Busy: clients send root messages; agents crash, links break, the kernel dies, an operator
meddles. Calm: faults are off, what was stopped is started again, and everything that was
accepted must end. ``run_seed`` is the door; it raises Violation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ipc.plain import encode_plain
from kernel.core import Core
from kernel.policy.balance_names import BALANCERS
from tests.simulator import calm
from tests.simulator.checker import Checker
from tests.simulator.client import VirtualClient
from tests.simulator.faults import Faults
from tests.simulator.kernel_host import KernelHost, MakeCore
from tests.simulator.plan import MS, Plan, draw_plan
from tests.simulator.processes import Processes
from tests.simulator.script import ScriptWriter
from tests.simulator.violation import Violation
from tests.simulator.world import World

MAX_EVENTS = 300_000  # a history that is longer does not come to rest


@dataclass(frozen=True, slots=True)
class Parts:
    """What a test may substitute, to plant a bug."""

    make_core: MakeCore = Core
    host: type[KernelHost] = KernelHost


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a history without a violation."""

    digest: str
    events: int
    turns: int
    virtual_s: float
    statistics: dict[str, int]


class Simulation:
    """See the module head."""

    def __init__(
        self, seed: int, parts: Parts, *, scale: float = 1.0, verbose: bool = False
    ) -> None:
        self.world = World(seed, verbose=verbose)
        self.plan: Plan = draw_plan(self.world.rng, scale)
        self.checker = Checker(self)
        self.kernel = parts.host(self, parts.make_core)
        self.processes = Processes(self)
        self.targets: list[int] = []
        self.writer = ScriptWriter(self.world.rng, self.plan, self.targets)
        self.clients: list[VirtualClient] = []
        self.attempts: dict[int, int] = {}  # message -> how often a handler began on it
        self.num_clients = 0
        self.faults = Faults(self)

    def begin(self) -> None:
        """Start the kernel and the clients, and plan what will happen."""
        self.kernel.start()
        for _ in range(self.plan.clients):
            self.new_client()
        first = self.clients[0]
        for index in range(self.plan.agents):
            spec = self.spec_of(f"a{index}", self.writer.agent_facts(), "permanent")
            self._give_budget(spec)
            self.world.after(index * MS, self._spawn, first, spec)
        for index in range(self.plan.pools):
            self.world.after(index * MS, self._spawn_pool, first, f"p{index}")
        rng = self.world.rng
        for _ in range(self.plan.roots):
            self.world.after(20 * MS + rng.random() * self.plan.busy_ns, self._send_root)
        self.faults.begin()

    def new_client(self) -> VirtualClient:
        """Let a client come."""
        self.num_clients += 1
        client = VirtualClient(self, self.num_clients)
        self.clients.append(client)
        client.connect()
        return client

    def spec_of(self, name: str | None, facts: dict[str, Any], restart: str) -> dict[str, Any]:
        """Return a spawn spec of a virtual agent."""
        spec: dict[str, Any] = {
            "target": "virtual:Agent",
            "module": "virtual",
            "qualname": "Agent",
            "arguments": encode_plain(facts),
            "restart": restart,
        }
        if name is not None:
            spec["name"] = name
        for key in ("mailbox_messages", "reserve", "weight"):
            if key in facts:
                spec[key] = facts[key]
        return spec

    def _give_budget(self, spec: dict[str, Any]) -> None:
        rng = self.world.rng
        if self.plan.budgets and rng.random() < self.plan.budgets:
            messages, size = rng.choice([0, 3, 10, 100]), rng.choice([500, 5000, 1_000_000])
            spec["budget"] = {"messages": messages, "bytes": size}

    def _spawn(self, client: VirtualClient, spec: dict[str, Any]) -> None:
        call = client.system("spawn", {"spec": spec})

        def spawned() -> None:
            if call.error is None:
                self.targets.append(call.value["actor"])

        call.then(spawned)

    def _spawn_pool(self, client: VirtualClient, name: str) -> None:
        rng = self.world.rng
        minimum = rng.randint(1, 3)
        spec = self.spec_of(name, self.writer.agent_facts(), "permanent")
        arguments = {
            "spec": spec,
            "minimum": minimum,
            "maximum": minimum + rng.randint(0, 2),
            "balance": rng.choice(sorted(BALANCERS)),
            "shrink_after_s": rng.choice([1, 15]),
        }
        self._give_budget(spec)
        call = client.system("pool_create", arguments)

        def created() -> None:
            if call.error is None:
                self.targets += [call.value["actor"]] * 2  # it gets more than one agent does

        call.then(created)

    def living_client(self) -> VirtualClient:
        """Return a client that is there."""
        living = [client for client in self.clients if client.is_alive]
        return self.world.rng.choice(living) if living else self.new_client()

    def _send_root(self) -> None:
        if not self.targets:
            self.world.after(50 * MS, self._send_root)
            return
        rng, client, writer = self.world.rng, self.living_client(), self.writer
        actor, options = rng.choice(self.targets), writer.options()
        if rng.random() < 0.1:
            options["keyed"] = f"key{rng.randint(0, 5)}"
        if rng.random() < 0.5:
            client.tell(actor, writer.write(self.plan.depth), options)
        elif rng.random() < 0.15:
            options.pop("keyed", None)
            count = rng.randint(0, 9)
            client.ask(actor, [["yield", count]], options, count)
        else:
            if rng.random() < 0.1:
                options["cancel"] = rng.choice([MS, 200 * MS])
            client.ask(actor, writer.write(self.plan.depth), options)

    def on_shutdown(self) -> None:
        """The kernel has stopped everything and leaves."""
        self.kernel.leave()

    def run(self) -> Result:
        """Live the history from beginning to end."""
        self.begin()
        while self.world.now_ns < self.plan.busy_ns + 1_000_000_000:
            self.world.step()
        calm.settle(self)
        self.kernel.note_counters()
        return Result(
            digest=self.world.digest,
            events=self.world.num_events,
            turns=self.kernel.num_turns,
            virtual_s=self.world.now_ns / 1e9,
            statistics=dict(sorted(self.kernel.counters.items())),
        )


def run_seed(
    seed: int, parts: Parts | None = None, *, scale: float = 1.0, verbose: bool = False
) -> Result:
    """Live the history of a seed.

    Raises:
        Violation: a promise or an invariant is broken; its story holds the last events.
    """
    simulation = Simulation(seed, parts or Parts(), scale=scale, verbose=verbose)
    try:
        return simulation.run()
    except Violation as found:
        raise _tell(found, simulation, seed) from found.__cause__
    except Exception as problem:
        failure = Violation("the core does not fail", repr(problem))
        raise _tell(failure, simulation, seed) from problem


def _tell(found: Violation, simulation: Simulation, seed: int) -> Violation:
    found.story = simulation.world.story()
    found.add_note(f"seed {seed}")
    return found
