"""Reservations of the machine, as an agent makes them for its children."""

import pytest

from actors import Actor, receive
from actors.testing import TestKernel
from ipc.errors import BadResourceError, ReservationError, UnknownResourceError


class Child(Actor):
    """Does nothing."""


class Parent(Actor):
    """Spawns a child with what it is told to reserve."""

    @receive
    async def bear(self, cpu: float, memory: str, resource: str = "cpu") -> str:
        child = await self.spawn(Child, reserve={resource: cpu, "memory": memory}, cpu_limit=50)
        return child.name


def taken(kernel: TestKernel, name: str) -> int:
    report = kernel.run(kernel.client.system("resources"))
    return next(info["taken"] for info in report["resources"] if info["name"] == name)


def test_an_agent_reserves_for_its_child_in_units_people_write() -> None:
    with TestKernel() as kernel:
        parent = kernel.spawn(Parent)
        kernel.ask(parent.bear(1.5, "512MiB"))

        assert taken(kernel, "cpu") == 1500
        assert taken(kernel, "memory") == 512 << 20


def test_what_does_not_fit_reaches_the_agent_as_a_typed_error() -> None:
    with TestKernel() as kernel:
        parent = kernel.spawn(Parent)
        kernel.ask(parent.bear(40, "1GiB"))

        with pytest.raises(ReservationError) as caught:
            kernel.ask(parent.bear(30, "1GiB"))
        with pytest.raises(UnknownResourceError):
            kernel.ask(parent.bear(1, "1GiB", "tape"))
        with pytest.raises(BadResourceError):
            kernel.ask(parent.bear(1, "1GB"))

        assert (caught.value.resource, caught.value.short) == ("cpu", 6000)
        assert taken(kernel, "cpu") == 40_000


def test_a_reservation_goes_with_the_tree_it_was_made_in() -> None:
    with TestKernel() as kernel:
        parent = kernel.spawn(Parent, name="parent")
        kernel.ask(parent.bear(2, "1GiB"))

        kernel.run(kernel.client.system("kill", actor="parent"))

        assert taken(kernel, "cpu") == taken(kernel, "memory") == 0


def test_reservations_of_children_outlive_the_kernel() -> None:
    with TestKernel() as kernel:
        parent = kernel.spawn(Parent)
        kernel.ask(parent.bear(2, "1GiB"))

        kernel.restart_kernel()

        assert taken(kernel, "cpu") == 2000
