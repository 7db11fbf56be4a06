"""The machine in the core: looks are taken, resources kept, operators asked and answered.

A look (``sampled``) updates the board and the inventory. A GPU that has vanished takes its engines
with it. Besides what can be reserved (kernel/resources/inventory.py) two things are resources to
operators: engines (kernel/llm/drains.py) and ``turn-slots``, the turns that may run at once.

Cost: O(agents) a look; the report O(agents + resources).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgpack

from ipc.errors import BadResourceError, UnknownResourceError
from ipc.resources import AgentReport, ResourceInfo, ResourceReport, UseReport
from kernel.actor_record import ActorRecord, Status
from kernel.calls import Call
from kernel.llm.drains import KIND as ENGINE
from kernel.llm.drains import PREFIX, Drains
from kernel.llm.engines import Engine
from kernel.output import Notice, WeighProcess
from kernel.records import Snapshot
from kernel.resources.board import AgentUse
from kernel.resources.inventory import Resource
from kernel.resources.samples import NodeSample, Samples
from kernel.resources.shares import USUAL, claim_of, cpu_shares, is_weighted, to_weights
from kernel.resources.usage import Use
from kernel.state import KernelState, Peer

CallHandler = Callable[[Peer, Call, dict[str, Any]], Any]
TURN_SLOTS = "turn-slots"
MAX_TURN_SLOTS = 1 << 20
_SETTING = "turn_slots"
_DOWN = (Status.FAILED, Status.QUARANTINED, Status.STOPPED)


class ResourceCalls:
    """See the module head."""

    def __init__(
        self, state: KernelState, drains: Drains, facts: Callable[[], dict[str, Any]]
    ) -> None:
        """facts: what only the driver knows; ``enforcement``: how limits are kept."""
        self.state = state
        self.drains = drains
        self.facts = facts
        self._shares: dict[int, int] = {}  # of CPUs, by actor; empty while nobody asks for any
        self._reckoned: tuple[int, list[tuple[int, int]]] = (0, [])  # what they were reckoned for
        self._told: dict[tuple[int, int], int] = {}  # weights, by actor and incarnation

    def calls(self) -> dict[str, tuple[CallHandler, bool]]:
        """Return the system calls: name to (function, agents may make it)."""
        return {
            "resources": (self.report, False),
            "resource_add": (self.add, False),
            "resource_drain": (self.drain, False),
            "resource_remove": (self.remove, False),
        }

    # --- looks ----------------------------------------------------------------------------

    def sampled(self, samples: Samples) -> None:
        """Take a look; samples of an incarnation that is over are left out."""
        state = self.state
        state.board.take(samples, self._is_current)
        for name in state.inventory.see(found_in(samples.node)):
            self._on_vanished(name)
        self.drains.tick()
        if state.weighted or self._told:
            self._weigh()

    def _on_vanished(self, name: str) -> None:
        moved = self.drains.on_gpu_lost(name)
        self.state.counters.add("resources_failed")
        self.state.counters.add("engines_moved", moved)
        fields = {"resource": name, "engines_moved": moved}
        self.state.output.commands.append(Notice("resource_vanished", fields))

    def _weigh(self) -> None:
        """Tell each process its weight, where it has changed."""
        state = self.state
        present = [(r.id, r.incarnation) for r in state.actors.values() if r.pid is not None]
        capacity = state.inventory.get("cpu").capacity
        if not state.weighted or self._reckoned != (capacity, present):
            self._reckoned = (capacity, present)
            self._reckon(capacity, present)

    def _reckon(self, capacity: int, present: list[tuple[int, int]]) -> None:
        state = self.state
        claims = {actor: claim_of(state.actors[actor].spec) for actor, _ in present}
        self._shares = cpu_shares(capacity, claims) if state.weighted else {}
        weights = to_weights(self._shares)
        before, self._told = self._told, {}
        for key in present:
            weight = weights.get(key[0], USUAL)
            if weight != before.get(key, USUAL):
                state.output.commands.append(WeighProcess(*key, weight))
            if weights:
                self._told[key] = weight

    def _is_current(self, actor: int, incarnation: int) -> bool:
        record = self.state.actors.get(actor)
        return record is not None and record.incarnation == incarnation

    def load(self, rows: Snapshot) -> None:
        """Take what operators changed, and what living actors have reserved."""
        for name, row in sorted(rows.get("resource", {}).items()):
            value = msgpack.unpackb(row[0])
            if value[0] == ENGINE:
                self.drains.load(name, value)
            else:
                self.state.inventory.load(name, row)
        for record in self.state.actors.values():
            if record.pool is not None:
                continue  # its members have what its spec says
            self.state.inventory.restore(record.id, record.spec.get("reserve", {}))
            if is_weighted(record.spec):
                self.state.weighted[record.id] = None
        slots = self.state.settings.get(_SETTING)
        if slots is not None:
            self.state.slots.limit = int(slots)

    # --- operators ------------------------------------------------------------------------

    def add(self, peer: Peer, call: Call, arguments: dict[str, Any]) -> ResourceInfo:
        """Make a resource, give one more, or let one that drains take work again.

        Raises:
            BadResourceError, UnknownModelError.
        """
        name, amount = _read(arguments)
        if name == TURN_SLOTS:
            return self._set_slots(self.state.slots.limit + amount)
        if name.startswith(PREFIX):
            return self._engine_info(self.drains.add(name))
        for engine in self.drains.on_gpu(name):
            self.drains.take_back(engine)
        return self._save(self.state.inventory.add(name, amount))

    def drain(self, peer: Peer, call: Call, arguments: dict[str, Any]) -> ResourceInfo:
        """Let a resource take no new work; with a GPU the engines on it drain.

        Raises:
            UnknownResourceError, BadResourceError.
        """
        name, _ = _read(arguments)
        if name == TURN_SLOTS:
            problem = "some must stay, or nothing runs: remove a number of them"
            raise BadResourceError(name=name, problem=problem)
        engine = self.drains.find(name)
        if engine is not None:
            self.drains.drain(engine)
            return self._engine_info(engine)
        for engine in self.drains.on_gpu(name):
            self.drains.drain(engine)
        return self._save(self._find(name, self.state.inventory.drain))

    def remove(self, peer: Peer, call: Call, arguments: dict[str, Any]) -> ResourceInfo:
        """Take an amount from a resource, or all of it: an engine leaves when it is idle.

        Raises:
            UnknownResourceError. BadResourceError: it is in use, or there is less.
        """
        name, amount = _read(arguments)
        if name == TURN_SLOTS:
            return self._set_slots(self.state.slots.limit - amount)
        engine = self.drains.find(name)
        if engine is not None:
            self.drains.drain(engine, leaves=True)
            return self._engine_info(engine)
        resource = self._find(name, self.state.inventory.get)
        if amount:
            return self._save(self.state.inventory.take(name, amount))
        self.state.inventory.remove(name)
        self.state.output.changes.delete("resource", name)
        return self._info(resource, "removed")

    def _find(self, name: str, function: Callable[[str], Resource]) -> Resource:
        try:
            return function(name)
        except UnknownResourceError:
            known = ", ".join(info["name"] for info in self._resources()) or "none"
            raise UnknownResourceError(name=name, known=known) from None

    def _save(self, resource: Resource) -> ResourceInfo:
        changes = self.state.output.changes
        if resource.is_plain:
            changes.delete("resource", resource.name)
        else:
            changes.put("resource", resource.name, resource.to_row())
        return self._info(resource)

    def _set_slots(self, limit: int) -> ResourceInfo:
        if not 1 <= limit <= MAX_TURN_SLOTS:
            problem = f"1 to {MAX_TURN_SLOTS} turns may run at once, not {limit}"
            raise BadResourceError(name=TURN_SLOTS, problem=problem)
        self.state.slots.limit = limit
        self.state.settings.put(_SETTING, str(limit), self.state.output.changes)
        return self._slots_info()

    # --- the report -----------------------------------------------------------------------

    def report(self, peer: Peer, call: Call, arguments: dict[str, Any]) -> ResourceReport:
        """Return what ``llmos resources`` shows."""
        board, state = self.state.board, self.state
        found = board.bottleneck
        return ResourceReport(
            age_ns=state.now_ns - board.node.taken_ns if board.node is not None else None,
            uses=[_use_report(use) for use in board.uses],
            bottleneck=None
            if found is None
            else {
                "name": found.name,
                "share": found.share,
                "for_ns": state.now_ns - found.since_ns,
            },
            resources=self._resources(),
            agents=[
                self._agent(record, board.agents.get(record.id))
                for record in state.actors.values()
                if record.id in board.agents or state.inventory.held(record.id)
            ],
            enforcement=str(self.facts().get("enforcement", "none")),
            look_cost_ns=board.cost_ns,
        )

    def _resources(self) -> list[ResourceInfo]:
        infos = [self._info(resource) for resource in self.state.inventory]
        engines = [self._engine_info(engine) for engine in self.drains.engines]
        return [*infos, self._slots_info(), *engines]

    def _info(self, resource: Resource, state: str = "") -> ResourceInfo:
        inventory = self.state.inventory
        return ResourceInfo(
            name=resource.name,
            kind=resource.kind,
            state=state or resource.state.value,
            capacity=resource.capacity,
            taken=inventory.reserved(resource.name),
            holders={
                self.state.name_of(holder): amount
                for holder, amount in inventory.holders(resource.name).items()
            },
        )

    def _engine_info(self, engine: Engine) -> ResourceInfo:
        record = self.state.actors.get(engine.actor)
        if record is not None and record.status in _DOWN:
            state = record.status.value
        elif engine.is_draining:
            state = "leaving" if engine.is_leaving else "draining"
        else:
            state = engine.state.value
        return ResourceInfo(
            name=engine.name, kind=ENGINE, state=state, capacity=None, taken=engine.load, holders={}
        )

    def _slots_info(self) -> ResourceInfo:
        slots = self.state.slots
        return ResourceInfo(
            name=TURN_SLOTS,
            kind="slots",
            state="active",
            capacity=slots.limit,
            taken=slots.used,
            holders={},
        )

    def _agent(self, record: ActorRecord, use: AgentUse | None) -> AgentReport:
        report = AgentReport(
            actor=record.id,
            name=record.name,
            pid=record.pid,
            reserved=dict(self.state.inventory.held(record.id)),
            cpu_share_millis=self._shares.get(record.id),
        )
        if use is not None:
            sample = use.sample
            report["cpu_millis"] = round(use.cpu_millis)
            report["cpu_ns"] = sample.cpu_ns
            report["rss_bytes"] = sample.rss_bytes
            report["pss_bytes"] = sample.pss_bytes
            report["read_per_s"] = round(use.read_per_s)
            report["written_per_s"] = round(use.written_per_s)
            report["threads"] = sample.threads
            report["processes"] = sample.processes
            report["gpu_bytes"] = sample.gpu_bytes
        return report


def found_in(node: NodeSample) -> dict[str, tuple[str, int]]:
    """Return what of a machine can be reserved: kind and amount by name."""
    found = {"cpu": ("cpu", node.cpu_millis), "memory": ("memory", node.memory_bytes)}
    for gpu in node.gpus:
        found[f"gpu.{gpu.index}"] = ("gpu", gpu.memory_bytes)
    return found


def _use_report(use: Use) -> UseReport:
    return UseReport(
        name=use.name, kind=use.kind, used=use.used, capacity=use.capacity, share=use.share
    )


def _read(arguments: dict[str, Any]) -> tuple[str, int]:
    name, amount = arguments["name"], arguments.get("amount", 0)
    if not isinstance(name, str) or not isinstance(amount, int) or amount < 0:
        raise BadResourceError(name=str(name), problem=f"an amount is 0 or more, not {amount!r}")
    return name, amount
