# cython: language_level=3, embedsignature=True
"""Work that waits, as a scheduling policy sees it: one object, and room for the policy's own notes.

What it is not: the order (kernel/policy), the line (ext/turn_line.pyx, kernel/llm). Imports nothing
from this project. One is made at each decision: as a Python class it takes five times as long, and
a second object for what the policy keeps of it is one more cache miss (bench/turn_policies.py).
"""

from libc.stdint cimport int64_t


cdef class Job:
    """Changed by nobody but who made it, between decisions; ``note`` by the policy, at any time.

    priority: 0 is the most urgent.  weight: the owner's share, above 0.
    program, owner: what tells them apart, hashable.
    arrival_ns, deadline_ns: on the clock that `now_ns` is of; below 2^53 a float keeps each one.
    parents: jobs whose results this one needed, where the program tells.
    note: what the policy keeps of the job; None before it arrives.
    """

    def __init__(
        self,
        id,
        program="",
        owner="",
        priority=0,
        int64_t arrival_ns=0,
        deadline_ns=None,
        double predicted_tokens=1.0,
        prompt_tokens=0,
        double weight=1.0,
        parents=(),
    ):
        self.id = id
        self.program = program
        self.owner = owner
        self.priority = priority
        self.arrival_ns = arrival_ns
        self.deadline_ns = deadline_ns
        self.predicted_tokens = predicted_tokens
        self.prompt_tokens = prompt_tokens
        self.weight = weight
        self.parents = parents

    def __repr__(self):
        return (
            f"{type(self).__name__}({self.id}, {self.program!r}, {self.owner!r}, "
            f"priority={self.priority}, arrival_ns={self.arrival_ns}, "
            f"deadline_ns={self.deadline_ns}, predicted_tokens={self.predicted_tokens}, "
            f"prompt_tokens={self.prompt_tokens}, weight={self.weight}, parents={self.parents})"
        )
