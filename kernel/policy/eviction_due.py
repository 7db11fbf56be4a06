"""Due: the block goes that is least likely to be used soon, per second it would be kept.

What an agent OS knows of a block is whose it is. The blocks of one program's last use form a run,
worth what the reuse model says of a program of such traits that has stayed away so long
(kernel/policy/reuse_model.py): a conversation is not due while its answer is being read, is due a
minute later, and after an hour hardly ever. Blocks that several programs use (system prompts, tool
descriptions, documents) are worth one use per mean interval between uses, or per age if that is
longer. Blocks that a program's next use left aside are worth next to nothing.

Invariants:
  D1  each cached block is in exactly one run; a run's blocks lie head first.
  D2  in a run the deepest block goes first, so no prefix goes before what it leads to.
Cost: O(1) a block used; O(runs) numpy an eviction, for all blocks of it (`us_evict` of
bench/eviction.py). What is remembered of blocks no longer cached is bounded by GHOSTS times the
cached ones, of programs by MAX_PROGRAMS.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

import numpy as np

from kernel.policy.eviction import Use
from kernel.policy.reuse_model import ReuseModel
from kernel.policy.reuse_traits import cell_of

MAX_PROGRAMS = 100_000
GHOSTS = 4  # blocks remembered for each cached one, and MIN_GHOSTS
MIN_GHOSTS = 4096
INTERVAL_STEP = 0.3  # weight of the newest interval between uses of a shared block
SHARED = -1  # in the place of a cell: the run's worth comes from intervals
LEFT_ASIDE = 1e-9  # uses per second, times the usual worth


@dataclass(slots=True)
class Program:
    """What is remembered of a program between its uses."""

    last_use_s: float
    turns: int
    run: int


@dataclass(slots=True)
class Run:
    """Blocks that share their worth. cell: traits of the use, or SHARED."""

    at_s: float
    program: str
    cell: int
    blocks: OrderedDict[int, None] = field(default_factory=OrderedDict)
    interval_s: float = 0.0  # mean interval between uses, of a shared run's deepest block
    is_left_aside: bool = False


@dataclass(slots=True)
class Sharing:
    """A block that several programs used."""

    last_use_s: float
    interval_s: float


class Due:
    """See the module head."""

    __slots__ = ("_ghosts", "_next_run", "_owner", "_programs", "_runs", "_shared", "model")

    def __init__(self) -> None:
        self.model = ReuseModel()
        self._programs: OrderedDict[str, Program] = OrderedDict()
        self._runs: dict[int, Run] = {}
        self._owner: dict[int, int] = {}  # cached block -> run
        self._ghosts: OrderedDict[int, Run] = OrderedDict()  # the run it was last in
        self._shared: OrderedDict[int, Sharing] = OrderedDict()  # blocks, ghosts too
        self._next_run = 0

    def __len__(self) -> int:
        return len(self._owner)

    def used(self, use: Use) -> None:
        """See ``EvictionPolicy``."""
        shared = [block for block in use.chain if self._is_shared(block, use)]
        own = [block for block in use.chain if block not in self._shared]
        program = self._programs.pop(use.program, None)
        turns, gap_s = 0, None
        if program is not None:
            turns, gap_s = program.turns + 1, use.at_s - program.last_use_s
        cell = cell_of(use.output_tokens, turns, gap_s, len(use.chain))
        self.model.use(use.program, use.at_s, cell)
        if shared:
            interval_s = self._shared[shared[-1]].interval_s
            self._add_run(Run(use.at_s, use.program, SHARED, interval_s=interval_s), shared)
        number = self._add_run(Run(use.at_s, use.program, cell), own)
        if program is not None and program.run in self._runs:
            self._runs[program.run].is_left_aside = True
        self._programs[use.program] = Program(use.at_s, turns, number)
        if len(self._programs) > MAX_PROGRAMS:
            self._programs.popitem(last=False)

    def _is_shared(self, block: int, use: Use) -> bool:
        """Say whether several programs use the block; note this use of it if so."""
        sharing = self._shared.get(block)
        if sharing is not None:
            newest = use.at_s - sharing.last_use_s
            sharing.interval_s += INTERVAL_STEP * (newest - sharing.interval_s)
            sharing.last_use_s = use.at_s
            self._shared.move_to_end(block)
            return True
        number = self._owner.get(block)
        run = self._ghosts.get(block) if number is None else self._runs[number]
        if run is None or run.program == use.program:
            return False
        self._shared[block] = Sharing(use.at_s, use.at_s - run.at_s)
        self.model.end(run.program, use.at_s, has_returned=True)
        return True

    def _add_run(self, run: Run, blocks: list[int]) -> int:
        number = self._next_run
        self._next_run += 1
        for block in blocks:
            self._leave(block)
            self._owner[block] = number
            self._ghosts.pop(block, None)
            run.blocks[block] = None
        if blocks:
            self._runs[number] = run
        return number

    def _leave(self, block: int) -> None:
        """Take a block out of its run (D1)."""
        number = self._owner.get(block)
        if number is not None:
            run = self._runs[number]
            del run.blocks[block]
            if not run.blocks:
                del self._runs[number]

    def evict(self, count: int, keep: AbstractSet[int], now_s: float) -> list[int]:
        """See ``EvictionPolicy``."""
        gone: list[int] = []
        numbers = list(self._runs)
        for place in np.argsort(self._worth(now_s), kind="stable").tolist():
            run = self._runs[numbers[place]]
            wanted = count - len(gone)
            gone += [block for block in reversed(run.blocks) if block not in keep][:wanted]  # D2
            if len(gone) == count:
                break
        self.forget(gone)
        return gone

    def _worth(self, now_s: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """Return each run's expected uses per second held, in the order of `_runs`."""
        runs = self._runs.values()
        ages = np.array([now_s - run.at_s for run in runs])
        cells = np.array([run.cell for run in runs], np.int64)
        intervals = np.array([run.interval_s for run in runs])
        worth = np.where(
            cells == SHARED,
            1 / np.maximum(intervals + ages, 1e-3),
            self.model.value(np.maximum(cells, 0), ages),
        )
        left_aside = np.array([run.is_left_aside for run in runs])
        return np.where(left_aside, LEFT_ASIDE * worth, worth)

    def forget(self, blocks: Sequence[int]) -> None:
        """See ``EvictionPolicy``."""
        for block in blocks:
            self._ghosts[block] = self._runs[self._owner[block]]
            self._leave(block)
            del self._owner[block]
        most = GHOSTS * len(self._owner) + MIN_GHOSTS
        while len(self._ghosts) > most:
            self._ghosts.popitem(last=False)
        while len(self._shared) > most:
            self._shared.popitem(last=False)

    def work(self) -> None:
        """See ``EvictionPolicy``."""
        self.model.work()
