"""CPU and wall time of agents' processes, booked from samples and from when they run.

What a process uses cannot be reserved before, only measured after. So it is booked up to the limit,
and what was measured beyond it is overrun (``AccountTree.spend``). An incarnation's times only
grow: what was booked is journaled with it, so that the next kernel books the rest and no more.

Only accounts with a limit on the resource, at or above them, are booked: without one nothing is
written for an agent that only runs.

Leaf. Cost: a few dict look-ups an agent and sample.
"""

from __future__ import annotations

from dataclasses import dataclass

from kernel.budget.accounts import Account, AccountTree

TIMES = ("cpu_s", "wall_s")


@dataclass(slots=True)
class Run:
    """A process that is metered.

    cpu_ns: of its time, how much was booked; None: what it had used before counts for nothing.
    since_wall_ns: from when on its running is not booked yet; 0: it does not run.
    """

    incarnation: int
    cpu_ns: int | None
    since_wall_ns: int

    def to_row(self) -> list[int | None]:
        """Return what is journaled."""
        return [self.incarnation, self.cpu_ns, self.since_wall_ns]


class RunBook:
    """See the module head."""

    def __init__(self, tree: AccountTree) -> None:
        self.tree = tree
        self.runs: dict[int, Run] = {}

    def begin(self, actor: int, incarnation: int, wall_ns: int, *, is_new: bool) -> None:
        """A process runs. is_new: all it uses counts; else what it uses from now on."""
        run = self.runs.get(actor)
        if run is None or run.incarnation != incarnation:
            self.runs[actor] = Run(incarnation, 0 if is_new else None, wall_ns)
        elif not run.since_wall_ns:
            run.since_wall_ns = wall_ns
        self._note(actor)

    def book_cpu(self, actor: int, incarnation: int, cpu_ns: int) -> None:
        """An incarnation has used so much since it began."""
        run, account = self.runs.get(actor), self.tree.accounts.get(actor)
        if run is None or account is None or run.incarnation != incarnation:
            return
        before, run.cpu_ns = run.cpu_ns, max(cpu_ns, run.cpu_ns or 0)
        if before is not None and run.cpu_ns > before and account.nearest("cpu_s") is not None:
            self.tree.spend(account, "cpu_s", run.cpu_ns - before)
            self._note(actor)

    def book_wall(self, actor: int, wall_ns: int) -> None:
        """Book the time since the last booking, if the process runs."""
        run, account = self.runs.get(actor), self.tree.accounts.get(actor)
        if run is None or account is None or not run.since_wall_ns:
            return
        elapsed_ns, run.since_wall_ns = max(0, wall_ns - run.since_wall_ns), wall_ns
        if elapsed_ns and account.nearest("wall_s") is not None:
            self.tree.spend(account, "wall_s", elapsed_ns)
            self._note(actor)

    def pause(self, actor: int, wall_ns: int) -> None:
        """A process stands still."""
        self.book_wall(actor, wall_ns)
        run = self.runs.get(actor)
        if run is not None:
            run.since_wall_ns = 0
            self._note(actor)

    def end(self, actor: int, wall_ns: int) -> None:
        """A process is gone."""
        self.book_wall(actor, wall_ns)
        if self.runs.pop(actor, None) is not None:
            self._note(actor)

    def missing(self, account: Account) -> str | None:
        """Return the time of which nothing is left to an account, or None."""
        for resource in TIMES:
            left = account.left(resource)
            if left is not None and left <= 0:
                return resource
        return None

    def _note(self, actor: int) -> None:
        account = self.tree.accounts.get(actor)
        if account is not None:
            self.tree.changed[actor] = account
