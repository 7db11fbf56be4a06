# cython: language_level=3, embedsignature=True
"""A message that an agent has been granted and not committed, and what it waits for.

What it is not: who has a slot (ext/turn_line.pyx), how a turn ends (kernel/turns.py). Imports
nothing from this project. Whether it waits is asked several times a turn: in Python a tenth of what
a policy's decision costs (bench/turn_policies.py).
"""


cdef class Turn:
    """See the module head.

    outstanding: ids of calls whose answer has not been sent.
    reservations: receivers whose room it waits for.
    budget_waits: for tells, by number of the RESERVE; None: there was none.
    is_adopted: begun before this kernel.
    is_starved: it has yielded all that its stream's asker will take.
    """

    def __init__(self, message):
        self.message, self.outstanding, self.reservations = message, set(), []

    @property
    def is_parked(self):
        """Say whether the turn waits for something and so holds no slot."""
        return is_waiting(self)
