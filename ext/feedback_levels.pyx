# cython: language_level=3, boundscheck=True, wraparound=False
# cython: initializedcheck=False, embedsignature=True
"""Jobs on the levels of a feedback queue: the part that every decision asks.

What it is not: the policy, which says what the quanta are, how often there is a boost and what they
are good for (kernel/policy/feedback_queue.py). Imports nothing from this project.

A job begins on level 0; what it is given on a level is that level's quantum, then it falls one.
Within a level the order is that of coming to it. At a boost all return to level 0.

Cost: O(1) a call, one object a job; a boost O(n log n) of those below the top. In Python it was a
fifth of a turn's decision (bench/turn_policies.py).
"""

from libc.stdint cimport int64_t

from ext.job cimport Job

cdef int64_t NEVER = <int64_t>1 << 62
cdef double LEVEL = <double>(<int64_t>1 << 43)  # as kernel/policy/policy.py has it


cdef class Standing:
    """Where a job stands. used: tokens of its level's quantum, since that many boosts."""

    cdef int64_t level, place, used, boosts


cdef class FeedbackLevels:
    """See the module head. A job's note is its standing.

    quanta_tokens: of each level, one at least.
    """

    cdef tuple quanta_tokens
    cdef dict lower              # standings below the top level, by job
    cdef int64_t last_place, boosts, boost_ns, next_boost_ns

    def __cinit__(self, *_args, **_options):
        self.lower = {}

    def __init__(self, tuple quanta_tokens not None, int64_t boost_ns):
        self.quanta_tokens, self.boost_ns, self.next_boost_ns = quanta_tokens, boost_ns, NEVER

    def on_arrival(self, Job job not None, now_ns):
        """Let a job stand last on the top level."""
        cdef Standing standing = Standing.__new__(Standing)
        if self.next_boost_ns == NEVER:
            self.next_boost_ns = <int64_t>now_ns + self.boost_ns
        self.put(standing, 0)
        standing.boosts = self.boosts
        job.note = standing

    cdef void put(self, Standing standing, int64_t level) noexcept:
        """Let one stand last on a level, with nothing used."""
        self.last_place += 1
        standing.level, standing.place, standing.used = level, self.last_place, 0

    def key(self, Job job not None, now_ns):
        """Return the place of a job: its level, and its place within that."""
        cdef Standing standing = job.note
        return standing.level * LEVEL + standing.place

    def quantum_tokens(self, Job job not None):
        """Return what is left of a job's quantum on its level."""
        cdef Standing standing = job.note
        self.forget_if_boosted(standing)
        return <int64_t>self.quanta_tokens[standing.level] - standing.used

    cdef void forget_if_boosted(self, Standing standing) noexcept:
        """Let one who was on the top level at a boost have used nothing since."""
        if standing.boosts != self.boosts:
            standing.boosts, standing.used = self.boosts, 0

    def on_service(self, Job job not None, int64_t tokens, now_ns):
        """Count what a job was given; it may fall."""
        cdef Standing standing = job.note
        self.forget_if_boosted(standing)
        standing.used += tokens
        if standing.used < <int64_t>self.quanta_tokens[standing.level]:
            return
        self.put(standing, min(standing.level + 1, <int64_t>len(self.quanta_tokens) - 1))
        if standing.level:
            self.lower[job.id] = standing

    def on_done(self, Job job not None, now_ns):
        """Forget a job."""
        if self.lower:
            self.lower.pop(job.id, None)

    def rekey(self, now_ns):
        """Return the jobs that a boost has moved; one that was missed is made up for once."""
        cdef int64_t now = now_ns
        if now < self.next_boost_ns:
            return ()
        self.next_boost_ns = now - (now - self.next_boost_ns) % self.boost_ns + self.boost_ns
        return self.boost()

    cdef list boost(self):
        """Let all return to the top level with nothing used; return who was below it, in order."""
        cdef Standing standing
        cdef list below = []
        self.boosts += 1
        for number, standing in self.lower.items():
            below.append((standing.level, standing.place, number))
        below.sort()                 # they join behind those above them, each level in its order
        for _, _, number in below:
            self.put(self.lower[number], 0)
        self.lower.clear()
        return [number for _, _, number in below]
