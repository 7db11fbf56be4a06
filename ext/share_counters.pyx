# cython: language_level=3, boundscheck=True, wraparound=False
# cython: initializedcheck=False, embedsignature=True
"""Jobs of owners, and what each owner was given over their weight: what every decision asks.

All jobs of an owner have one key, their counter, which changes as one of them is served.

What it is not: the policy, which says where an owner begins who was idle
(kernel/policy/fair_share.py); the line, in which an owner's places move together. Imports nothing
from this project.

Cost: O(1) a call; in Python three times as long (bench/turn_policies.py).
"""

from libc.stdint cimport int64_t

from ext.job cimport Job


cdef class Account:
    """An owner's counter, and how many jobs they have that are not done.

    number: of the account.
    """

    cdef readonly object owner
    cdef readonly long num_jobs, number
    cdef public double counter

    def __init__(self, owner, long number):
        self.owner, self.number = owner, number


cdef class ShareCounters:
    """See the module head. A job's note is the account of its owner.

    busy: the accounts of owners who have jobs, by owner.
    """

    cdef readonly dict busy

    def __cinit__(self, *_args, **_options):
        self.busy = {}

    def on_arrival(self, Job job not None, now_ns):
        """Note a job."""
        if not job.weight > 0:
            self.refuse(job)
        cdef Account account = self.busy.get(job.owner)
        if account is None:
            account = self.wake(job.owner)
        account.num_jobs += 1
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

    def on_service(self, Job job not None, int64_t tokens, now_ns):
        """Count what a job was given."""
        (<Account?>job.note).counter += <double>tokens / job.weight

    def on_done(self, Job job not None, now_ns):
        """Forget a job."""
        cdef Account account = job.note
        if account is None:
            return
        job.note = None
        account.num_jobs -= 1
        if not account.num_jobs:
            self.sleep(account)

    def rekey(self, now_ns):
        """Name nobody: who has the jobs in a line moves an owner's when one of them is served."""
        return ()
