"""A plan being made: what the engine has to do, in the order of ipc/engine.py Plan.

Mechanism only: it collects what the planner has decided and writes it as arrays.
Cost: a few microseconds, plus what has changed since the plan before.
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from ipc.engine import NewRequest, Plan
from kernel.llm.batch import Decodes
from kernel.llm.task import Task

Pairs = NDArray[np.int32]
WIRE = np.dtype("<i4")
WIRE_BYTES = WIRE.itemsize


class Draft:
    """One plan. budget: tokens that may still be planned in it."""

    def __init__(self, number: int, budget: int, no_decodes: Decodes) -> None:
        self.number = number
        self.budget = budget
        self.decodes = no_decodes
        self._prefill: list[int] = []  # of prompts: triples of slot, start, count
        self.sampled: list[Task] = []  # of these, those that come to their last known token
        self._decode_blocks = b""
        self._blocks: list[bytes] = []  # pairs
        self._add: list[NewRequest] = []
        self._copies_out: list[Pairs] = []
        self._copies_in: list[Pairs] = []
        self._copies: list[int] = []  # pairs

    @property
    def slots(self) -> list[int]:
        """Slots of the prompts' stretches."""
        return self._prefill[::3]

    @property
    def counts(self) -> list[int]:
        """Tokens of the prompts' stretches."""
        return self._prefill[2::3]

    @property
    def is_empty(self) -> bool:
        """Say whether there is nothing that the engine has to do in a step."""
        is_step = self._prefill or self._add or len(self.decodes.slots)
        return not (is_step or self._copies_out or self._copies_in)

    def decode(self, decodes: Decodes, blocks: bytes) -> None:
        """Let these slots decode; blocks: pairs, those they have taken."""
        self.decodes = decodes
        self.budget -= len(decodes.slots)
        self._decode_blocks = blocks

    def prefill(self, task: Task, start: int, count: int) -> None:
        """Compute tokens [start, start + count) of a task."""
        self._prefill += (task.slot, start, count)
        self.budget -= count

    def sample(self, task: Task) -> None:
        """The task's stretch ends with its last known token."""
        self.sampled.append(task)

    def begin(self, task: Task, new: NewRequest, start: int, count: int) -> None:
        """Give a task its slot, and its first stretch if there is one."""
        self._add.append(new)
        if count:
            self._prefill += (task.slot, start, count)
            self.budget -= count
        if task.planned == task.known:
            self.sampled.append(task)

    def append_blocks(self, slot: int, blocks: NDArray[np.int32]) -> None:
        """Lengthen a slot's block table."""
        pairs = np.empty((len(blocks), 2), WIRE)
        pairs[:, 0], pairs[:, 1] = slot, blocks
        self._blocks.append(pairs.tobytes())

    def copy_out(self, pairs: Pairs) -> None:
        """Copy device blocks to host blocks."""
        if len(pairs):
            self._copies_out.append(pairs)

    def copy_in(self, pairs: Pairs) -> None:
        """Copy host blocks to device blocks."""
        if len(pairs):
            self._copies_in.append(pairs)

    def copy(self, source: int, target: int) -> None:
        """Copy a device block to another."""
        self._copies.extend((source, target))

    def to_plan(self, drop: list[int], changes: tuple[bytes, bytes], *, reset: bool) -> Plan:
        """Return the plan for the wire; empty fields are left out.

        changes: slots that decode no more, and those that do from now on.
        """
        plan: Plan = {"plan": self.number}
        if reset:
            plan["reset"] = True
        if drop:
            plan["drop"] = wire(drop)
        if self._copies_out:
            plan["copy_out"] = np.concatenate(self._copies_out).astype(WIRE).tobytes()
        if self._copies_in:
            plan["copy_in"] = np.concatenate(self._copies_in).astype(WIRE).tobytes()
        if self._copies:
            plan["copy"] = wire(self._copies)
        if self._add:
            plan["add"] = self._add
        if self._blocks or self._decode_blocks:
            plan["blocks"] = b"".join((self._decode_blocks, *self._blocks))
        if self._prefill:
            plan["prefill"] = wire(self._prefill)
        off, on = changes
        if off:
            plan["decode_off"] = off
        if on:
            plan["decode_on"] = on
        return plan


def wire(numbers: list[int]) -> bytes:
    """Return numbers as they travel."""
    return struct.pack(f"<{len(numbers)}i", *numbers)
