"""Least attained service, by program: whose whole program has had least is next.

An agent program is many calls, and nobody knows how many. A call starts with what the finished
calls of its program have been given, and its own prompt, which it is sure to need; from there it
adds what it is given itself. The sum decides its level, doubling from `first_bound` tokens on.
Levels are served from the least on, within one in the order of arrival there. So short programs
pass long ones, with calls of any number and length.

A call that runs gives way only to one more than GRACE levels below it, whose sum is about 1/64 of
its own. The gain is in the order in which calls begin; what giving way costs (blocks copied or
computed again, a smaller batch) is more than it brings (bench/README.md has both).

A program has waited for as long as it had calls here, less the time its service takes. Bound:
where that is `patience` times its service (of `first_bound` tokens at least), its waiting calls go
to the level above all, in the order in which they were promoted, and stay there until they are
done. A job there waits only for those promoted before it and for those that run when it is
promoted. Judged once per epoch, by `rekey`.

Cost: O(1) a call; `rekey` is O(changed), and O(log programs) for each program that may have
starved, which is looked at again only when it has had time to.
Source: Luo et al., Autellix, arXiv 2502.13965 (PLAS).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from heapq import heappop, heappush

from kernel.policy.policy import LEVEL, Job, need_positive

FIRST_BOUND = 64  # tokens of a program on the first level
NUM_LEVELS = 16
QUANTUM_TOKENS = 64
GRACE = 5  # levels below a running call at which another does not yet take its place
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
    jobs: dict[int, None] = field(default_factory=dict)
    is_watched: bool = False  # it stands in the heap of those who may starve


@dataclass(slots=True)
class Standing:
    """Where a job stands. before: tokens attained when it came, without its own."""

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
        "_watched",
    )

    margin = (GRACE + 0.5) * LEVEL  # places within a level do not count

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
        self._watched: list[tuple[int, str]] = []  # when, and who, may have starved

    def on_arrival(self, job: Job, now_ns: int) -> None:
        """See ``Policy``."""
        program = self._programs.setdefault(job.program, Program())
        if not program.jobs:
            program.since_ns = now_ns
        program.jobs[job.id] = None
        self._idle.pop(job.program, None)
        self._watch(job.program, program)
        before = self.attained_before(job, program)
        level = level_of(before + job.prompt_tokens, self._first_bound)
        self._standings[job.id] = Standing(job, before, 0, level, self._next_place())

    def attained_before(self, job: Job, program: Program) -> int:
        """Return the tokens that count for the job besides its own."""
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
        given = max(standing.served, job.prompt_tokens)
        level = level_of(standing.before + given, self._first_bound)
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
        del program.jobs[job.id]
        self.add_finished(standing, program)
        if not program.jobs:
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
        while self._watched and self._watched[0][0] <= now_ns:
            _, name = heappop(self._watched)
            program = self._programs.get(name)
            if program is None:
                continue
            program.is_watched = False
            if not program.jobs:
                continue
            if self._starves_ns(program) > now_ns:
                self._watch(name, program)  # it was served since
                continue
            for number in program.jobs:
                standing = self._standings[number]
                if standing.level != PROMOTED:
                    self._move(standing, PROMOTED)

    def _watch(self, name: str, program: Program) -> None:
        """Look at the program again when it will have starved, unless it is served until then."""
        if not program.is_watched:
            program.is_watched = True
            heappush(self._watched, (self._starves_ns(program), name))

    def _starves_ns(self, program: Program) -> int:
        """Return when the program will have waited too long; it has jobs."""
        served = max(program.served, self._first_bound)
        allowed = self._patience * served + program.served
        return program.since_ns + math.ceil(allowed * self._token_ns) - program.present_ns


def level_of(tokens: int, first_bound: int = FIRST_BOUND) -> int:
    """Return 1 below the first bound, one more for each doubling from there."""
    return min(1 + (tokens // first_bound).bit_length(), NUM_LEVELS)
