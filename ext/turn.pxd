# An open turn for other Cython modules.

cdef class Turn:
    cdef public object message
    cdef public set outstanding
    cdef public list reservations
    cdef public dict budget_waits
    cdef public bint is_cancelled, is_adopted, is_starved


cdef inline bint is_waiting(Turn turn) except -1:
    """Say whether a turn waits for something and so holds no slot."""
    return (
        turn.is_starved or bool(turn.outstanding) or bool(turn.reservations)
        or bool(turn.budget_waits)
    )
