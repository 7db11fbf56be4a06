"""Suspends the processes of agents whose CPU or wall time is used up, and lets them go on.

At a limit all processes of the account that has it are stopped (SIGSTOP to each with all its
descendants): open turns keep their place and hold no slot, nothing new is granted or started. A
top-up lets them go on where they were. As a hard stop each process has RLIMIT_CPU: at what was left
when it began, or when limits last changed, and HARD_STOP_S. That kills it, which a look in time
spares it: looks come each second, on a busy machine with many processes every few.

What "never exceeded" means for what is sampled: ``used`` never passes the limit; what is measured
beyond it is ``overrun``. That is at most what the processes use between two looks (a second, longer
with thousands of agents) and the time to deliver a signal; for one process at most HARD_STOP_S and
a second of CPU beyond its own share, whatever the looks do. Wall time is due to the millisecond.

Cost: nothing for agents without an account; else a look at each a second.
"""

from __future__ import annotations

from functools import partial

from kernel.actor_record import ActorRecord, Status
from kernel.budget.accounts import Account, Shortage
from kernel.budget.run_book import TIMES
from kernel.incarnations import Incarnations
from kernel.output import ContinueProcess, LimitCpu, StopProcess
from kernel.resources.samples import Samples
from kernel.timers import Due

HARD_STOP_S = 5
_SECOND_NS = 1_000_000_000
_SOONEST_NS = 1_000_000  # between two bookings of wall time


class RunTime:
    """See the module head."""

    def __init__(self, incarnations: Incarnations) -> None:
        self.state = incarnations.state
        self.incarnations = incarnations
        self.delivery = incarnations.delivery
        self.budgets = incarnations.state.budgets
        self.book = incarnations.state.budgets.run_book

    # --- inputs ---------------------------------------------------------------------------

    def sampled(self, samples: Samples) -> None:
        """Book the CPU time that was seen."""
        if not self.book.runs:
            return
        for sample in samples.agents:
            self.book.book_cpu(sample.actor, sample.incarnation, sample.cpu_ns)
        self._suspend_all()

    def exited(self, actor: int, incarnation: int, cpu_ns: int | None) -> None:
        """A process is gone. cpu_ns: all it has used, if somebody knows."""
        if cpu_ns is not None:
            self.book.book_cpu(actor, incarnation, cpu_ns)

    def tick(self) -> None:
        """Book wall time; once a second, and when some limit is about to be reached."""
        if not self.book.runs:
            return
        for actor in self.book.runs:
            self.book.book_wall(actor, self.state.wall_ns)
        self._suspend_all()
        left_ns = self._soonest()
        if left_ns is not None and left_ns < _SECOND_NS:
            due_ns = self.state.now_ns + max(_SOONEST_NS, left_ns)
            self.state.timers.set(Due.RUN_TIME, 0, due_ns)

    def _soonest(self) -> int | None:
        """Return when the first wall limit is reached, if those that run go on."""
        running: dict[int, list[int]] = {}  # account -> [left, processes]
        for actor, run in self.book.runs.items():
            account = self.budgets.get(actor)
            node = account.nearest("wall_s") if account is not None else None
            if node is not None and run.since_wall_ns:
                left = node.limits["wall_s"] - node.held("wall_s")
                running.setdefault(node.id, [left, 0])[1] += 1
        return min((left // number for left, number in running.values()), default=None)

    # --- suspension -----------------------------------------------------------------------

    @property
    def is_unsettled(self) -> bool:
        """Say whether ``settle`` has something to do."""
        return bool(self.budgets.held_starts or self.budgets.begun)

    def settle(self) -> None:
        """Set the hard stops of new processes; let actors that were not started stand in line."""
        begun, self.budgets.begun = self.budgets.begun, {}
        for actor in begun:
            record = self.state.actors.get(actor)
            if record is not None and record.account is not None:
                self._limit_new(record, record.account)
        held, self.budgets.held_starts = self.budgets.held_starts, {}
        for actor in held:
            record = self.state.actors.get(actor)
            if record is not None and actor not in self.budgets.stopped:
                self._stand(record)

    def _suspend_all(self) -> None:
        for actor in list(self.book.runs):
            record = self.state.actors.get(actor)
            if record is None or record.account is None or actor in self.budgets.stopped:
                continue
            if self.book.missing(record.account) is not None:
                self.suspend(record)

    def suspend(self, record: ActorRecord) -> None:
        """Stop an actor's process until there is time left again."""
        self.book.pause(record.id, self.state.wall_ns)
        record.is_stopped = True
        self.delivery.count_slots(record)
        self._command(record, StopProcess)
        self.state.counters.add("budget_suspensions")
        self._stand(record)

    def _stand(self, record: ActorRecord) -> None:
        account = record.account
        resource = self.book.missing(account) if account is not None else None
        if account is None or resource is None:
            self._go_on(record)
            return
        shortage = self._shortage(account, resource)
        record.suspended.add(resource)
        attempt = partial(self._try_again, record)
        waiter = self.budgets.wait(account, record.id, attempt, shortage)
        self.budgets.stopped[record.id] = waiter

    def _shortage(self, account: Account, resource: str) -> Shortage:
        node = account.nearest(resource)
        assert node is not None
        return Shortage(node, resource, 1)

    def _try_again(self, record: ActorRecord) -> Shortage | None:
        assert record.account is not None
        record.suspended.difference_update(TIMES)
        resource = self.book.missing(record.account)
        if resource is not None:
            record.suspended.add(resource)
            return self._shortage(record.account, resource)
        self.budgets.stopped.pop(record.id, None)
        self._go_on(record)
        return None

    def _go_on(self, record: ActorRecord) -> None:
        record.suspended.difference_update(TIMES)
        if record.is_stopped:
            record.is_stopped = False
            self.delivery.count_slots(record)
            self.book.begin(record.id, record.incarnation, self.state.wall_ns, is_new=False)
            self.limit(record)
            self._command(record, ContinueProcess)
            self._expect(record)
        elif record.status is Status.BACKOFF and not record.suspended:
            self.incarnations.start(record)
        self.state.dirty[record.id] = None

    def _expect(self, record: ActorRecord) -> None:
        """Give a process that was stopped before it said hello its time again."""
        if record.channel is None:
            due_ns = self.state.now_ns + int(self.state.config.start_timeout_s * 1e9)
            self.state.timers.set(Due.START_TIMEOUT, (record.id, record.incarnation), due_ns)

    def _command(self, record: ActorRecord, kind: type[StopProcess | ContinueProcess]) -> None:
        if record.pid is not None and record.start_time is not None:
            command = kind(record.id, record.incarnation, record.pid, record.start_time)
            self.state.output.commands.append(command)

    # --- the hard stop --------------------------------------------------------------------

    def limit_all(self) -> None:
        """Limits have changed: so do the hard stops of all processes that run."""
        for actor in self.book.runs:
            record = self.state.actors.get(actor)
            if record is not None:
                self.limit(record)

    def _limit_new(self, record: ActorRecord, account: Account) -> None:
        if account.nearest("cpu_s") is not None:
            self.limit(record)

    def limit(self, record: ActorRecord) -> None:
        """Set the hard stop of an actor's process; see the module head."""
        run = self.book.runs.get(record.id)
        if record.account is None or run is None or record.pid is None or not record.start_time:
            return
        left = record.account.left("cpu_s")
        used = run.cpu_ns or 0
        cpu_s = None if left is None else -(-(used + left) // _SECOND_NS) + HARD_STOP_S
        if run.cpu_ns is None and left is not None:
            return  # what it has used before is not known yet
        limit = LimitCpu(record.id, record.incarnation, record.pid, record.start_time, cpu_s)
        self.state.output.commands.append(limit)

    def take_up(self) -> None:
        """Accounts were made for actors that run: meter their processes from now on."""
        for record in self.state.actors.values():
            if record.account is not None and record.pid is not None:
                run = self.book.runs.get(record.id)
                if run is None and record.has_process:
                    wall_ns = self.state.wall_ns
                    self.book.begin(record.id, record.incarnation, wall_ns, is_new=False)

    # --- recovery -------------------------------------------------------------------------

    def adopt(self) -> None:
        """Take up the processes that the kernel before this one has metered, or had stopped."""
        for record in list(self.state.actors.values()):
            if record.account is None or not record.has_process or record.pid is None:
                continue
            run = self.book.runs.get(record.id)
            if run is None or run.incarnation != record.incarnation:
                wall_ns = self.state.wall_ns
                self.book.begin(record.id, record.incarnation, wall_ns, is_new=False)
            self.book.book_wall(record.id, self.state.wall_ns)
            if self.book.missing(record.account) is not None:
                self.suspend(record)  # a new kernel cannot know whether it has been
            elif run is not None and not run.since_wall_ns:
                record.is_stopped = True
                self._go_on(record)
