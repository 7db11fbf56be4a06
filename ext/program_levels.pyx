# cython: language_level=3, boundscheck=True, wraparound=False
# cython: initializedcheck=False, embedsignature=True
"""Jobs of programs, in levels of what each program was given: the part that every decision asks.

What it is not: the policy, which says when somebody has waited too long and what levels mean
(kernel/policy/least_attained.py). Imports nothing from this project.

A job falls to the level of the sum of what counted before it and what it is given; levels begin at
1, and each is twice as wide as the one above it, from ``first_bound`` on. Within a level the order
is that of coming to it. On level 0 one stands until it is done.

What counts before a job is what the finished jobs of its program were given. Where paths count
(``max_paths``) it is the longest path of jobs that led to it, and of one that names no parents, or
none that is remembered, the longest its program has finished.

Cost: O(1) a call, one object a job; in Python three times as long (bench/turn_policies.py).
"""

from collections import OrderedDict

from libc.stdint cimport int64_t

from ext.job cimport Job

cdef int64_t NEVER = 1 << 62
cdef double LEVEL = <double>(<int64_t>1 << 43)  # as kernel/policy/policy.py has it


cdef class Program:
    """What a program has had. attained: what counts for a job of it that comes, in tokens.

    number: of programs in the order in which they came.  jobs: its standings, by job.
    served: tokens of all jobs.  present_ns: how long it had jobs here, up to `since_ns`, when those
    that are here began to come.  is_watched: the policy's.
    """

    cdef readonly object name
    cdef readonly dict jobs
    cdef readonly int64_t number
    cdef public int64_t attained, served, present_ns, since_ns
    cdef public bint is_watched


cdef class Standing:
    """Where a job stands. before: tokens that counted when it came, without its own.

    bound: of those and its own together, at which it falls.
    """

    cdef readonly Program program
    cdef readonly int64_t before, served, level
    cdef int64_t bound, place


cdef class ProgramLevels:
    """See the module head. A job's note is its standing.

    first_bound: in tokens.  num_levels: the last has no bound.  epoch_ns: how often to ``look``.
    max_paths: finished jobs whose path is remembered, those of late; 0: sums count, and no paths.
    programs: all that have jobs, and at most `max_idle` that have none, by name.
    """

    cdef readonly dict programs
    cdef dict changed            # numbers of the jobs that moved since rekey was asked
    cdef readonly int64_t first_bound
    cdef public int64_t max_idle
    cdef object idle             # programs without jobs, the one longest so first
    cdef object paths            # tokens along the path that ended with a job, the oldest first
    cdef int64_t max_paths, num_levels, last_place, num_programs, epoch_ns, next_epoch_ns

    def __cinit__(self, *_args, **_options):
        self.programs, self.changed, self.idle = {}, {}, OrderedDict()
        self.paths = OrderedDict()

    def __init__(
        self, *, int64_t first_bound, int64_t num_levels, max_idle, epoch_ns, int64_t max_paths=0
    ):
        self.first_bound, self.num_levels = first_bound, num_levels
        self.max_idle, self.epoch_ns, self.max_paths = max_idle, epoch_ns, max_paths

    def on_arrival(self, Job job not None, now_ns):
        """Let a job stand on the level of what counts before it, and its prompt."""
        cdef Program program = self.programs.get(job.program)
        if program is None:
            program = self.begin_program(job.program)
        if not program.jobs:
            program.since_ns = now_ns
            self.idle.pop(program.name, None)
        if not program.is_watched:
            self.watch(program)
        cdef Standing standing = Standing.__new__(Standing)
        standing.program = program
        standing.before = program.attained
        if self.max_paths and job.parents:
            standing.before = self.longest_before(job, program)
        self.put(standing, standing.before + <int64_t>job.prompt_tokens)
        job.note = program.jobs[job.id] = standing

    cdef Program begin_program(self, name):
        cdef Program program = Program.__new__(Program)
        self.num_programs += 1
        program.name, program.number, program.jobs = name, self.num_programs, {}
        self.programs[name] = program
        return program

    cdef void put(self, Standing standing, int64_t tokens) noexcept:
        """Let one stand last on the level of this sum."""
        cdef int64_t level = 1, bound = self.first_bound
        while tokens >= bound and level < self.num_levels:
            level, bound = level + 1, 2 * bound
        standing.level, standing.bound = level, bound if level < self.num_levels else NEVER
        self.last_place += 1
        standing.place = self.last_place

    cpdef watch(self, Program program):
        """A program has jobs, and nobody looks at how long it waits: the policy's part."""

    cdef int64_t longest_before(self, Job job, Program program) except -1:
        """Return the tokens along the longest path to a job that is known."""
        cdef int64_t longest = -1
        for parent in job.parents:
            longest = max(longest, <int64_t>self.paths.get(parent, -1))
        return program.attained if longest < 0 else longest

    cdef object add_finished(self, Job job, Standing standing):
        """Count a job that is done for those that come later."""
        cdef Program program = standing.program
        cdef int64_t path = standing.before + standing.served
        if not self.max_paths:
            program.attained += standing.served
            return
        program.attained = max(program.attained, path)
        self.paths[job.id] = path
        if len(self.paths) > self.max_paths:
            self.paths.popitem(last=False)

    def key(self, Job job not None, now_ns):
        """Return the place of a job: its level, and its place within that."""
        cdef Standing standing = job.note
        return standing.level * LEVEL + standing.place

    def on_service(self, Job job not None, int64_t tokens, now_ns):
        """Count what a job was given; it may fall."""
        cdef Standing standing = job.note
        standing.served += tokens
        standing.program.served += tokens
        if standing.before + standing.served >= standing.bound:
            self.put(standing, standing.before + standing.served)
            self.changed[job.id] = None

    def rekey(self, now_ns):
        """Return the jobs that moved since this was asked, after a look once per epoch."""
        cdef int64_t now = now_ns
        if now >= self.next_epoch_ns:
            self.next_epoch_ns = now + self.epoch_ns
            self.look(now_ns)
        if not self.changed:
            return ()
        changed, self.changed = self.changed, {}
        return changed

    def look(self, now_ns):
        """Promote who has waited too long: the policy's part."""

    def promote(self, number, Standing standing not None):
        """Let a job stand last on the level above all, until it is done."""
        if standing.level:
            self.last_place += 1
            standing.level, standing.bound, standing.place = 0, NEVER, self.last_place
            self.changed[number] = None

    def on_done(self, Job job not None, now_ns):
        """Forget a job."""
        cdef Standing standing = job.note
        if standing is None:
            return
        job.note = None
        cdef Program program = standing.program
        del program.jobs[job.id]
        self.add_finished(job, standing)
        if self.changed:
            self.changed.pop(job.id, None)
        if not program.jobs:
            program.present_ns += <int64_t>now_ns - program.since_ns
            self.idle[program.name] = None
            if len(self.idle) > self.max_idle:
                self.end_program(next(iter(self.idle)))

    def end_program(self, name):
        """Forget a program that has no jobs and will have none."""
        if name in self.idle:
            del self.idle[name], self.programs[name]
