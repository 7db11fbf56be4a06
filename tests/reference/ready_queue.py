"""The oracle of ext/ready_queue.pyx: a plain list, sorted anew for each question.

Handles are issued by the queue under test and told to `push`, which checks that none comes twice.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Held:
    level: int
    key: float
    arrival: int  # counts pushes; only its order is compared
    handle: int
    item: int

    def order(self) -> tuple[int, float, int]:
        return (self.level, self.key, self.arrival)


class SlowReadyQueue:
    def __init__(self) -> None:
        self.held: list[Held] = []
        self.issued: set[int] = set()

    def push(self, handle: int, key: float, item: int, level: int = 0) -> None:
        assert handle not in self.issued, f"handle {handle:#x} was issued before"
        self.held.append(Held(level, key, len(self.issued), handle, item))
        self.issued.add(handle)

    def in_order(self, level: int | None = None) -> list[Held]:
        chosen = [held for held in self.held if level is None or held.level == level]
        return sorted(chosen, key=Held.order)

    def find(self, handle: int) -> Held | None:
        return next((held for held in self.held if held.handle == handle), None)

    def pop(self, level: int | None = None) -> Held:
        first = self.in_order(level)[0]
        self.held.remove(first)
        return first

    def remove(self, handle: int) -> Held:
        held = self.find(handle)
        assert held is not None
        self.held.remove(held)
        return held

    def update(self, handle: int, key: float, level: int | None = None) -> None:
        held = self.find(handle)
        assert held is not None
        held.key = key
        held.level = held.level if level is None else level
