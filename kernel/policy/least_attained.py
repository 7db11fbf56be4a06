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

What every decision asks, levels and sums, is in ext/program_levels.pyx.
Cost: O(1) a call; `rekey` is O(changed), and O(log programs) for each program that may have
starved, which is looked at again only when it has had time to.
Source: Luo et al., Autellix, arXiv 2502.13965 (PLAS).
"""

from __future__ import annotations

import math
from heapq import heappop, heappush

from ext.program_levels import Program, ProgramLevels
from kernel.policy.policy import LEVEL, Job, need_positive

FIRST_BOUND = 64  # tokens of a program on the first level
NUM_LEVELS = 16
QUANTUM_TOKENS = 64
GRACE = 5  # levels below a running call at which another does not yet take its place
PATIENCE = 50.0
TOKEN_NS = 20_000_000  # a token's usual time, to compare service with waiting
EPOCH_NS = 100_000_000
MAX_PROGRAMS = 100_000  # without jobs, remembered


class LeastAttained(ProgramLevels):
    """See the module head."""

    __slots__ = ("_patience", "_quantum_tokens", "_token_ns", "_watched")

    margin = (GRACE + 0.5) * LEVEL  # places within a level do not count

    def __init__(
        self,
        *,
        quantum_tokens: int = QUANTUM_TOKENS,
        patience: float = PATIENCE,
        token_ns: int = TOKEN_NS,
        first_bound: int = FIRST_BOUND,
        max_paths: int = 0,
    ) -> None:
        """max_paths: see ext/program_levels.pyx; 0: the sum of a program's calls counts."""
        need_positive("least_attained", "quantum_tokens", quantum_tokens)
        need_positive("least_attained", "patience", patience)
        need_positive("least_attained", "token_ns", token_ns)
        need_positive("least_attained", "first_bound", first_bound)
        super().__init__(
            first_bound=first_bound,
            num_levels=NUM_LEVELS,
            max_idle=MAX_PROGRAMS,
            epoch_ns=EPOCH_NS,
            max_paths=max_paths,
        )
        self._quantum_tokens = quantum_tokens
        self._patience = patience
        self._token_ns = token_ns
        self._watched: list[tuple[int, int, Program]] = []  # when, and who, may have starved

    def quantum_tokens(self, job: Job) -> int | None:
        """See ``Policy``."""
        return self._quantum_tokens

    def look(self, now_ns: int) -> None:
        """Promote those who have waited too long; asked once per epoch."""
        while self._watched and self._watched[0][0] <= now_ns:
            _, _, program = heappop(self._watched)
            program.is_watched = False
            if not program.jobs:
                continue
            if self._starves_ns(program) > now_ns:
                self.watch(program)  # it was served since
                continue
            for number, standing in program.jobs.items():
                self.promote(number, standing)

    def watch(self, program: Program) -> None:
        """Look at the program again when it will have starved, unless it is served until then."""
        program.is_watched = True
        heappush(self._watched, (self._starves_ns(program), program.number, program))

    def _starves_ns(self, program: Program) -> int:
        """Return when the program will have waited too long; it has jobs."""
        served = max(program.served, self.first_bound)
        allowed = self._patience * served + program.served
        return program.since_ns + math.ceil(allowed * self._token_ns) - program.present_ns
