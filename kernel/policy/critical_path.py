"""Least attained service along the critical path, for programs whose calls run side by side.

A call counts what the longest path of calls that led to it was given: the most, over the calls
whose results it needed, of what counted for that one and what it was given. Calls side by side add
nothing to each other, so a program that fans out is not taken for a long one, and a call that all
others wait for is not held back by what its siblings got. Where a job does not name its parents,
the longest path its program has finished counts.

Paths are kept in ext/program_levels.pyx. Levels, quantum and the bound on waiting are those of
kernel/policy/least_attained.py.
Source: Luo et al., Autellix, arXiv 2502.13965 (ATLAS).
"""

from __future__ import annotations

from kernel.policy.least_attained import FIRST_BOUND, TOKEN_NS, LeastAttained

MAX_PATHS = 100_000  # finished calls whose path is remembered; then the program's longest counts


class CriticalPath(LeastAttained):
    """See the module head."""

    __slots__ = ()

    def __init__(self, *, token_ns: int = TOKEN_NS, first_bound: int = FIRST_BOUND) -> None:
        super().__init__(token_ns=token_ns, first_bound=first_bound, max_paths=MAX_PATHS)
