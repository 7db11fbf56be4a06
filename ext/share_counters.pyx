# cython: language_level=3, boundscheck=True, wraparound=False
# cython: initializedcheck=False, embedsignature=True
"""Jobs of owners, and what each owner was given over their weight: what every decision asks.

What it is not: the policy, which says where an owner begins who was idle
(kernel/policy/fair_share.py). Imports nothing from this project.

Cost: O(1) a call; in Python three times as long (bench/turn_policies.py).
"""

from ext.job cimport Job


cdef class Account:
    """An owner's counter, and their jobs that are not done: the counter their keys were asked at.

    number: of the account.
    """

    cdef readonly object owner
    cdef readonly dict jobs
    cdef readonly long number
    cdef public double counter
    cdef bint is_changed

    def __init__(self, owner, long number):
        self.owner, self.number, self.jobs = owner, number, {}


cdef class ShareCounters:
    """See the module head. A job's note is the account of its owner.

    busy: the accounts of owners who have jobs, by owner.
    """

    cdef readonly dict busy
    cdef list changed            # whose counters have, since rekey was asked

    def __cinit__(self, *_args, **_options):
        self.busy, self.changed = {}, []

    def on_arrival(self, Job job not None, now_ns):
        """Note a job; its key is asked next, and only then."""
        if not job.weight > 0:
            self.refuse(job)
        cdef Account account = self.busy.get(job.owner)
        if account is None:
            account = self.wake(job.owner)
        account.jobs[job.id] = account.counter
        job.note = account

    def refuse(self, job):
        """Raise an error: the weight of a job is no share. The policy's part."""
        raise NotImplementedError

    def wake(self, owner):
        """Return the account of an owner who was idle, put among the busy: the policy's part."""
        raise NotImplementedError

    def sleep(self, account):
        """Take the account of an owner who has no jobs from the busy: the policy's part."""
        raise NotImplementedError

    def key(self, Job job not None, now_ns):
        """Return the counter of the job's owner."""
        return (<Account?>job.note).counter

    def on_service(self, Job job not None, tokens, now_ns):
        """Count what a job was given."""
        cdef Account account = job.note
        account.counter += <double>tokens / job.weight
        if not account.is_changed:
            account.is_changed = True
            self.changed.append(account)

    def on_done(self, Job job not None, now_ns):
        """Forget a job."""
        cdef Account account = job.note
        if account is None:
            return
        job.note = None
        del account.jobs[job.id]
        if not account.jobs:
            self.sleep(account)

    def rekey(self, now_ns):
        """Return the jobs whose keys have changed since they were asked."""
        if not self.changed:
            return ()
        cdef Account account
        cdef list numbers = []
        for account in self.changed:
            account.is_changed = False
            for number, asked in account.jobs.items():
                if <double>asked != account.counter:
                    account.jobs[number] = account.counter   # no new key: the walk goes on
                    numbers.append(number)
        self.changed.clear()
        return numbers

    def rekey_owners(self, now_ns):
        """Return owners whose counters have changed since this was asked, and their counters."""
        if not self.changed:
            return ()
        cdef Account account
        cdef list moved = []
        for account in self.changed:
            account.is_changed = False
            moved.append((account.owner, account.counter))
        self.changed.clear()
        return moved
