"""Least attained service, by program: whose whole program has had least is next.

An agent program is many calls, and nobody knows how many. A call starts with what the finished
calls of its program have been given, and adds what it is given itself; the sum decides its level,
doubling from `first_bound` tokens on. Levels are served from the least on, within one in the order
of arrival there. So short programs pass long ones, with calls of any number and length.

A program has waited for as long as it had calls here, less the time its service takes. Bound:
where that is `patience` times its service (of `first_bound` tokens at least), its waiting calls go
to the level above all, in the order in which they were promoted, and stay there until they are
done. A job there waits only for those promoted before it and the slice in progress. Judged once per
epoch, by `rekey`.

Cost: O(1) a call; `rekey` is O(jobs) once in EPOCH_NS, and O(changed) between.
Source: Luo et al., Autellix, arXiv 2502.13965 (PLAS).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from kernel.policy.policy import LEVEL, Job, need_positive

FIRST_BOUND = 64  # tokens of a program on the first level
NUM_LEVELS = 16
QUANTUM_TOKENS = 64
PATIENCE = 50.0
TOKEN_NS = 20_000_000  # a token's usual time, to compare service with waiting
EPOCH_NS = 100_000_000
MAX_PROGRAMS = 100_000  # without jobs, remembered
PROMOTED = 0  # the level above all; others begin at 1


@dataclass(slots=True)
class Program:
    """What a program has had. attained: tokens of its finished calls, or the longest path of them.

    served: tokens of all calls.  present_ns: how long it had calls here, up to `since_ns`.
    """

    attained: int = 0
    served: int = 0
    present_ns: int = 0
    since_ns: int = 0  # when the calls that are here began to come
    num_jobs: int = 0


@dataclass(slots=True)
class Standing:
    """Where a job stands. before: tokens attained when it came."""

    job: Job
    before: int
    served: int
    level: int
    place: int


class LeastAttained:
    """See the module head."""

    __slots__ = (
        "_changed",
        "_first_bound",
        "_idle",
        "_last_place",
        "_next_epoch_ns",
        "_patience",
        "_programs",
        "_quantum_tokens",
        "_standings",
        "_token_ns",
    )

    def __init__(
        self,
        *,
        quantum_tokens: int = QUANTUM_TOKENS,
        patience: float = PATIENCE,
        token_ns: int = TOKEN_NS,
        first_bound: int = FIRST_BOUND,
    ) -> None:
        need_positive("least_attained", "quantum_tokens", quantum_tokens)
        need_positive("least_attained", "patience", patience)
        need_positive("least_attained", "token_ns", token_ns)
        need_positive("least_attained", "first_bound", first_bound)
        self._quantum_tokens = quantum_tokens
        self._first_bound = first_bound
        self._patience = patience
        self._token_ns = token_ns
        self._programs: dict[str, Program] = {}
        self._idle: OrderedDict[str, None] = OrderedDict()  # programs without jobs
        self._standings: dict[int, Standing] = {}
        self._changed: dict[int, None] = {}
        self._last_place = 0
        self._next_epoch_ns = 0

    def on_arrival(self, job: Job, now_ns: int) -> None:
        """See ``Policy``."""
        program = self._programs.setdefault(job.program, Program())
        if not program.num_jobs:
            program.since_ns = now_ns
        program.num_jobs += 1
        self._idle.pop(job.program, None)
        before = self.attained_before(job, program)
        level = level_of(before, self._first_bound)
        self._standings[job.id] = Standing(job, before, 0, level, self._next_place())

    def attained_before(self, job: Job, program: Program) -> int:
        """Return the tokens that count for the job when it comes."""
        return program.attained

    def _next_place(self) -> int:
        self._last_place += 1
        return self._last_place

    def key(self, job: Job, now_ns: int) -> float:
        """See ``Policy``."""
        standing = self._standings[job.id]
        return standing.level * LEVEL + standing.place

    def quantum_tokens(self, job: Job) -> int | None:
        """See ``Policy``."""
        return self._quantum_tokens

    def on_service(self, job: Job, tokens: int, now_ns: int) -> None:
        """See ``Policy``."""
        standing = self._standings[job.id]
        standing.served += tokens
        self._programs[job.program].served += tokens
        level = level_of(standing.before + standing.served, self._first_bound)
        if standing.level not in (PROMOTED, level):
            self._move(standing, level)

    def _move(self, standing: Standing, level: int) -> None:
        standing.level = level
        standing.place = self._next_place()
        self._changed[standing.job.id] = None

    def on_done(self, job: Job, now_ns: int) -> None:
        """See ``Policy``."""
        standing = self._standings.pop(job.id, None)
        if standing is None:
            return
        self._changed.pop(job.id, None)
        program = self._programs[job.program]
        program.num_jobs -= 1
        self.add_finished(standing, program)
        if not program.num_jobs:
            program.present_ns += now_ns - program.since_ns
            self._idle[job.program] = None
            if len(self._idle) > MAX_PROGRAMS:
                self.end_program(next(iter(self._idle)))

    def add_finished(self, standing: Standing, program: Program) -> None:
        """Count a finished call for those of its program that come later."""
        program.attained += standing.served

    def end_program(self, name: str) -> None:
        """Forget a program that has no jobs and will have none."""
        if name in self._idle:
            del self._idle[name], self._programs[name]

    def rekey(self, now_ns: int) -> Iterable[int]:
        """See ``Policy``. Promotes those who have waited too long, once per epoch."""
        if now_ns >= self._next_epoch_ns:
            self._next_epoch_ns = now_ns + EPOCH_NS
            self._promote(now_ns)
        changed = list(self._changed)
        self._changed.clear()
        return changed

    def _promote(self, now_ns: int) -> None:
        starved = {
            name
            for name, program in self._programs.items()
            if program.num_jobs and self._is_starved(program, now_ns)
        }
        for standing in self._standings.values() if starved else ():
            if standing.level != PROMOTED and standing.job.program in starved:
                self._move(standing, PROMOTED)

    def _is_starved(self, program: Program, now_ns: int) -> bool:
        present_ns = program.present_ns + now_ns - program.since_ns
        waited_ns = present_ns - program.served * self._token_ns
        served = max(program.served, self._first_bound)
        return waited_ns >= self._patience * served * self._token_ns


def level_of(tokens: int, first_bound: int = FIRST_BOUND) -> int:
    """Return 1 below the first bound, one more for each doubling from there."""
    return min(1 + (tokens // first_bound).bit_length(), NUM_LEVELS)
