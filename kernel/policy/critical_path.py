"""Least attained service along the critical path, for programs whose calls run side by side.

A call counts what the longest path of calls that led to it was given: the most, over the calls
whose results it needed, of what counted for that one and what it was given. Calls side by side add
nothing to each other, so a program that fans out is not taken for a long one, and a call that all
others wait for is not held back by what its siblings got. Where a job does not name its parents,
the longest path its program has finished counts.

Levels, quantum and the bound on waiting are those of kernel/policy/least_attained.py.
Source: Luo et al., Autellix, arXiv 2502.13965 (ATLAS).
"""

from __future__ import annotations

from collections import OrderedDict

from ext.program_levels import Program, Standing
from kernel.policy.least_attained import FIRST_BOUND, TOKEN_NS, LeastAttained
from kernel.policy.policy import Job

MAX_PATHS = 100_000  # finished calls whose path is remembered; then the program's longest counts


class CriticalPath(LeastAttained):
    """See the module head."""

    __slots__ = ("_paths",)

    def __init__(self, *, token_ns: int = TOKEN_NS, first_bound: int = FIRST_BOUND) -> None:
        super().__init__(token_ns=token_ns, first_bound=first_bound)
        self._paths: OrderedDict[int, int] = OrderedDict()

    def attained_before(self, job: Job, program: Program) -> int:
        """See ``LeastAttained``."""
        known = [self._paths[parent] for parent in job.parents if parent in self._paths]
        return max(known) if known else program.attained

    def add_finished(self, job: Job, standing: Standing) -> None:
        """See ``LeastAttained``."""
        path = standing.before + standing.served
        program = standing.program
        program.attained = max(program.attained, path)
        self._paths[job.id] = path
        if len(self._paths) > MAX_PATHS:
            self._paths.popitem(last=False)
