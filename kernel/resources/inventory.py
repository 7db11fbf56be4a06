"""The resources that can be reserved: how much there is of each, and who has a right to how much.

A resource has a name, a kind, a capacity in whole units and a state. Those of the machine (cpu in
thousandths of a CPU, memory in bytes, gpu.N in bytes of its memory) are found; others are added by
an operator, in units of their own (licences, places in a queue).

    active     takes reservations
    draining   takes none; those who have some keep them until they end
    failed     it has vanished; like draining, and active again when it comes back

Invariants:
  I1  ``reserve`` takes all amounts or none.
  I2  after a ``reserve`` that took something of a resource, no more of it is reserved than there
      is. A capacity that shrinks later takes nothing away: it leaves less than nothing free.
  I3  what an operator changed (capacity, draining) holds when the machine is looked at again.

Leaf. Not journaled but for what operators changed (``to_row``): reservations stand in the specs of
agents, the machine is looked at again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

import msgpack

from ipc.errors import BadResourceError, ReservationError, UnknownResourceError
from ipc.resources import show_amount

MAX_CAPACITY = 1 << 60
UNITS = {"cpu": "thousandths of a CPU", "memory": "bytes", "gpu": "bytes"}


class ResourceState(Enum):
    """See the module head."""

    ACTIVE = "active"
    DRAINING = "draining"
    FAILED = "failed"


@dataclass(slots=True, eq=False)
class Resource:
    """One resource. found: what the machine has; change: what an operator made of it."""

    name: str
    kind: str  # cpu | memory | gpu | units
    found: int = 0
    change: int = 0
    is_draining: bool = False
    is_failed: bool = False
    is_added: bool = False  # by an operator; such a one cannot fail

    @property
    def capacity(self) -> int:
        """Return how much there is to be reserved."""
        return max(0, self.found + self.change)

    @property
    def state(self) -> ResourceState:
        """Return the state; failed hides draining."""
        if self.is_failed:
            return ResourceState.FAILED
        return ResourceState.DRAINING if self.is_draining else ResourceState.ACTIVE

    @property
    def is_plain(self) -> bool:
        """Say whether no operator has changed it."""
        return not (self.is_added or self.is_draining or self.change)

    def to_row(self) -> tuple[bytes]:
        """Return the journal row."""
        return (msgpack.packb([self.kind, self.change, self.is_draining, self.is_added]),)


class Inventory:
    """All resources, and the reservations by holder."""

    def __init__(self) -> None:
        self._resources: dict[str, Resource] = {}
        self._held: dict[int, dict[str, int]] = {}

    def __iter__(self) -> Iterator[Resource]:
        return iter(list(self._resources.values()))

    # --- what there is --------------------------------------------------------------------

    def get(self, name: str) -> Resource:
        """Return a resource. Raises UnknownResourceError, with the names there are."""
        found = self._resources.get(name)
        if found is None:
            known = ", ".join(sorted(self._resources)) or "none yet"
            raise UnknownResourceError(name=name, known=known)
        return found

    def load(self, name: str, row: tuple[bytes]) -> None:
        """Take what an operator changed, as the journal has it."""
        kind, change, is_draining, is_added = msgpack.unpackb(row[0])
        self._resources[name] = Resource(
            name, kind, change=change, is_draining=is_draining, is_added=is_added
        )

    def see(self, found: Mapping[str, tuple[str, int]]) -> list[str]:
        """Take what the machine has, by name: kind and amount. Return those that have vanished.

        One that was seen before and is missing now has failed.
        """
        for name, (kind, amount) in found.items():
            resource = self._resources.setdefault(name, Resource(name, kind))
            if not resource.is_added:
                resource.found, resource.is_failed = amount, False
        vanished = []
        for resource in self._resources.values():
            is_missing = resource.name not in found and not resource.is_added
            if is_missing and not resource.is_failed:
                resource.is_failed = True
                vanished.append(resource.name)
        return vanished

    def add(self, name: str, amount: int) -> Resource:
        """Make a resource, or give one more capacity; one that drains takes reservations again.

        Raises:
            BadResourceError: a machine's cannot be more than it is; no name; a bad amount.
        """
        resource = self._resources.get(name)
        if resource is None:
            if not 0 < len(name) <= 255 or not name.isprintable() or set(name) & set(" =,"):
                problem = "a name has 1 to 255 characters, no space, comma or equals sign"
                raise BadResourceError(name=name, problem=problem)
            resource = Resource(name, "units", is_added=True)
        change = resource.change + amount
        if amount < 0 or change + resource.found > MAX_CAPACITY:
            problem = f"an amount is 0 to {MAX_CAPACITY}, not {amount}"
            raise BadResourceError(name=name, problem=problem)
        if not resource.is_added and change > 0:
            found, used = (show_amount(name, each) for each in (resource.found, resource.capacity))
            problem = f"the machine has {found}, and {used} may be reserved: there is no more"
            raise BadResourceError(name=name, problem=problem)
        resource.change, resource.is_draining = change, False
        self._resources[name] = resource
        return resource

    def take(self, name: str, amount: int) -> Resource:
        """Lower the capacity; what is reserved of it stays so (I2).

        Raises:
            UnknownResourceError. BadResourceError: there is less than that.
        """
        resource = self.get(name)
        if not 0 < amount <= resource.capacity:
            there, wanted = show_amount(name, resource.capacity), show_amount(name, amount)
            problem = f"its capacity is {there}, {wanted} cannot be taken from it"
            raise BadResourceError(name=name, problem=problem)
        resource.change -= amount
        return resource

    def drain(self, name: str) -> Resource:
        """Let a resource take no more reservations. Raises UnknownResourceError."""
        resource = self.get(name)
        resource.is_draining = True
        return resource

    def remove(self, name: str) -> None:
        """Forget a resource that an operator added.

        Raises:
            UnknownResourceError. BadResourceError: somebody holds some, or it is the machine's.
        """
        resource = self.get(name)
        if not resource.is_added:
            problem = "it is the machine's: drain it, or take from its capacity"
            raise BadResourceError(name=name, problem=problem)
        if self.reserved(name):
            problem = f"{self.reserved(name)} of it are reserved: drain it, and wait or end these"
            raise BadResourceError(name=name, problem=problem)
        del self._resources[name]

    # --- who has what ---------------------------------------------------------------------

    def reserved(self, name: str) -> int:
        """Return how much of a resource is reserved."""
        return sum(amounts.get(name, 0) for amounts in self._held.values())

    def held(self, holder: int) -> Mapping[str, int]:
        """Return what a holder has reserved."""
        return self._held.get(holder, {})

    def all_held(self) -> Mapping[int, Mapping[str, int]]:
        """Return all reservations, by holder."""
        return self._held

    def holders(self, name: str) -> dict[int, int]:
        """Return who has reserved some of a resource, and how much."""
        return {holder: amounts[name] for holder, amounts in self._held.items() if name in amounts}

    def check(self, amounts: Mapping[str, int]) -> None:
        """Say whether all of it could be reserved now, by returning.

        Raises:
            UnknownResourceError. ReservationError: which is too little, and by how much.
        """
        for name, wanted in amounts.items():
            resource = self.get(name)
            is_active = resource.state is ResourceState.ACTIVE
            free = max(0, resource.capacity - self.reserved(name)) if is_active else 0
            if wanted > free:
                label = name if is_active else f"{name} ({resource.state.value})"
                raise ReservationError(
                    resource=label,
                    unit=UNITS.get(resource.kind, "units"),
                    wanted=wanted,
                    free=free,
                    capacity=resource.capacity,
                    short=wanted - free,
                )

    def reserve(self, holder: int, amounts: Mapping[str, int]) -> None:
        """Reserve for a holder that has nothing yet (I1). Raises as ``check``."""
        if amounts:
            self.check(amounts)
            self._held[holder] = dict(amounts)

    def restore(self, holder: int, amounts: Mapping[str, int]) -> None:
        """Take a reservation of the kernel before this one, whether it still fits or not."""
        if amounts:
            self._held[holder] = dict(amounts)

    def release(self, holder: int) -> None:
        """Give back all that a holder has reserved; nothing if it has none."""
        self._held.pop(holder, None)
