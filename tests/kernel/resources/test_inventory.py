"""kernel/resources/inventory.py: what can be reserved, and by whom."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ipc.errors import (
    BadResourceError,
    ReservationError,
    UnknownResourceError,
    from_wire,
    to_wire,
)
from kernel.resources.inventory import Inventory, ResourceState

MACHINE = {"cpu": ("cpu", 2000), "memory": ("memory", 1 << 30)}


def seen(**more: tuple[str, int]) -> Inventory:
    inventory = Inventory()
    inventory.see(MACHINE | more)
    return inventory


def test_a_reservation_that_does_not_fit_says_which_and_by_how_much() -> None:
    inventory = seen()
    inventory.reserve(1, {"cpu": 1500})

    with pytest.raises(ReservationError) as caught:
        inventory.reserve(2, {"memory": 1, "cpu": 700})

    error = caught.value
    assert (error.resource, error.wanted, error.free, error.short) == ("cpu", 700, 500, 200)
    assert inventory.held(2) == {}


@pytest.mark.parametrize(
    ("resource", "wanted", "text"),
    [
        ("cpu", 3500, "cannot reserve 3.5 CPUs of cpu: 2 of 2 are free, 1.5 too few"),
        ("memory", 5 << 30, "cannot reserve 5 GiB of memory: 4 GiB of 4 GiB are free, 1 GiB too"),
        ("memory", (4 << 30) + 512, "4 GiB of 4 GiB are free, 512 bytes too few"),
        ("licence", 3, "cannot reserve 3 units of licence: 2 of 2 are free, 1 too few"),
    ],
)
def test_a_refused_reservation_is_told_in_units_that_people_use(
    resource: str, wanted: int, text: str
) -> None:
    inventory = Inventory()
    inventory.see({"cpu": ("cpu", 2000), "memory": ("memory", 4 << 30)})
    inventory.add("licence", 2)

    with pytest.raises(ReservationError) as caught:
        inventory.reserve(1, {resource: wanted})

    assert text in str(caught.value)
    assert caught.value.wanted == wanted
    assert str(from_wire(to_wire(caught.value))) == str(caught.value)


def test_an_unknown_resource_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(UnknownResourceError, match="there are: cpu, memory"):
        seen().reserve(1, {"quantum": 1})


def test_what_a_holder_releases_can_be_reserved_again() -> None:
    inventory = seen()
    inventory.reserve(1, {"cpu": 2000})
    inventory.release(1)

    inventory.reserve(2, {"cpu": 2000})

    assert inventory.reserved("cpu") == 2000


def test_a_draining_resource_takes_no_reservation_and_keeps_those_it_has() -> None:
    inventory = seen()
    inventory.reserve(1, {"cpu": 500})
    inventory.drain("cpu")

    with pytest.raises(ReservationError, match=r"cpu \(draining\)"):
        inventory.reserve(2, {"cpu": 1})
    assert inventory.reserved("cpu") == 500
    inventory.add("cpu", 0)
    inventory.reserve(2, {"cpu": 1})


def test_a_resource_that_vanishes_has_failed_until_it_is_seen_again() -> None:
    inventory = seen(**{"gpu.0": ("gpu", 100)})
    inventory.reserve(1, {"gpu.0": 60})

    assert inventory.see(MACHINE) == ["gpu.0"]
    assert inventory.see(MACHINE) == []
    assert inventory.get("gpu.0").state is ResourceState.FAILED
    with pytest.raises(ReservationError, match="failed"):
        inventory.reserve(2, {"gpu.0": 1})
    assert inventory.see(MACHINE | {"gpu.0": ("gpu", 100)}) == []
    inventory.reserve(2, {"gpu.0": 40})


def test_a_capacity_that_shrinks_takes_nothing_away() -> None:
    inventory = seen()
    inventory.reserve(1, {"cpu": 2000})
    inventory.see(MACHINE | {"cpu": ("cpu", 1000)})

    assert inventory.reserved("cpu") == 2000
    with pytest.raises(ReservationError, match=r"0 of 1 are free, 0\.001 too few"):
        inventory.reserve(2, {"cpu": 1})


def test_what_an_operator_took_stays_taken_when_the_machine_is_looked_at_again() -> None:
    inventory = seen()
    inventory.take("cpu", 500)
    inventory.see(MACHINE)

    assert inventory.get("cpu").capacity == 1500
    inventory.add("cpu", 500)
    with pytest.raises(
        BadResourceError, match="the machine has 2 CPUs, and 2 CPUs may be reserved"
    ):
        inventory.add("cpu", 1)


def test_more_than_there_is_cannot_be_taken() -> None:
    with pytest.raises(BadResourceError, match=r"its capacity is 2 CPUs, 2\.001 CPUs cannot"):
        seen().take("cpu", 2001)


def test_an_added_resource_is_removed_once_nobody_holds_any() -> None:
    inventory = seen()
    inventory.add("licence", 3)
    inventory.reserve(1, {"licence": 2})

    with pytest.raises(BadResourceError, match="2 of it are reserved"):
        inventory.remove("licence")
    inventory.release(1)
    inventory.remove("licence")
    with pytest.raises(UnknownResourceError):
        inventory.get("licence")


def test_the_machines_own_cannot_be_removed() -> None:
    with pytest.raises(BadResourceError, match="it is the machine's"):
        seen().remove("cpu")


@pytest.mark.parametrize("name", ["", "a b", "a=b", "a,b", "x" * 256, "a\n"])
def test_a_name_that_could_not_be_typed_again_is_refused(name: str) -> None:
    with pytest.raises(BadResourceError):
        seen().add(name, 1)


def test_changes_of_operators_survive_in_rows() -> None:
    inventory = seen()
    rows = {
        "licence": inventory.add("licence", 3).to_row(),
        "cpu": inventory.take("cpu", 500).to_row(),
        "memory": inventory.drain("memory").to_row(),
    }

    after = Inventory()
    for name, row in rows.items():
        after.load(name, row)
    after.see(MACHINE)

    assert after.get("licence").capacity == 3
    assert after.get("cpu").capacity == 1500
    assert after.get("memory").state is ResourceState.DRAINING
    assert not after.get("memory").is_plain


class Reservations(RuleBasedStateMachine):
    """Any order of reserving, ending, draining, vanishing: never too much, never half."""

    def __init__(self) -> None:
        super().__init__()
        self.inventory = seen()
        self.held: dict[int, dict[str, int]] = {}
        self.capacity = 2000
        self.is_open = True
        self.next = 1

    @rule(cpu=st.integers(0, 900), memory=st.integers(1, 1 << 29))
    def reserve(self, cpu: int, memory: int) -> None:
        wanted = {"cpu": cpu, "memory": memory}
        free_cpu = self.capacity - self.total("cpu") if self.is_open else 0
        fits = cpu <= max(0, free_cpu) and memory <= (1 << 30) - self.total("memory")
        self.next += 1
        if fits:
            self.inventory.reserve(self.next, wanted)
            self.held[self.next] = wanted
            return
        with pytest.raises(ReservationError) as caught:
            self.inventory.reserve(self.next, wanted)
        assert caught.value.short == caught.value.wanted - caught.value.free > 0

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        holder = data.draw(st.sampled_from(sorted(self.held)))
        del self.held[holder]
        self.inventory.release(holder)

    @rule(capacity=st.sampled_from([500, 1000, 2000]))
    def shrink_or_grow(self, capacity: int) -> None:
        self.inventory.see(MACHINE | {"cpu": ("cpu", capacity)})
        self.capacity = capacity

    @rule(is_open=st.booleans())
    def drain_or_take_back(self, is_open: bool) -> None:
        self.is_open = is_open
        if is_open:
            self.inventory.add("cpu", 0)
        else:
            self.inventory.drain("cpu")

    def total(self, name: str) -> int:
        return sum(amounts[name] for amounts in self.held.values())

    @invariant()
    def agrees(self) -> None:
        for name in MACHINE:
            assert self.inventory.reserved(name) == self.total(name)
        for holder, amounts in self.held.items():
            assert self.inventory.held(holder) == amounts


TestReservations = Reservations.TestCase
TestReservations.settings = settings(max_examples=30, stateful_step_count=20)
