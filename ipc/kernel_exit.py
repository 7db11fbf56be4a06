"""How a kernel process ends, as exit status; for the kernel and for whoever started it."""

from __future__ import annotations

from enum import IntEnum


class KernelExit(IntEnum):
    """Exit status of ``python -m kernel``."""

    DONE = 0  # all agents stopped in order
    BUG = 1  # a broken invariant of ours; the log has the traceback
    USAGE = 2  # unknown option, unknown configuration key, value out of range
    HOME_IN_USE = 3  # another kernel has the home
    BAD_HOME = 4  # a directory, token file or socket cannot be made or trusted
    BAD_JOURNAL = 5  # damaged, or of a newer version; it was left as it is
    JOURNAL_WRITE = 6  # a commit failed (full or broken disk); nothing uncommitted was emitted
    INTERRUPTED = 130  # a second SIGINT: agents were left running and wait for a new kernel
