"""Identifiers: actors and messages share one counter, sessions are random.

bit 63 set: a client's session. Else bits 48-62 are the node, bits 0-47 a counter that
is never reused, so that an id tells two kernels apart and is never handed out twice.
"""

from __future__ import annotations

import random

from ipc.protocol import SESSION_BIT

NODE_SHIFT = 48
COUNTER_MASK = (1 << NODE_SHIFT) - 1


def make_id(node: int, counter: int) -> int:
    """Return the id of the ``counter``-th thing made on ``node``.

    Raises ValueError when either does not fit (15 and 48 bits).
    """
    if not 0 <= node < 1 << 15 or not 0 < counter <= COUNTER_MASK:
        raise ValueError(f"node {node} or counter {counter} does not fit an id")
    return node << NODE_SHIFT | counter


def new_session_id(source: random.Random) -> int:
    """Return a session id: 63 random bits below the session bit."""
    return SESSION_BIT | source.getrandbits(63)


def is_session(identifier: int) -> bool:
    """Say whether the id is a client's session."""
    return bool(identifier & SESSION_BIT)


def short(identifier: int) -> str:
    """Return the id as people read it: the counter, with the node before it unless 0."""
    if is_session(identifier):
        return f"session-{identifier & 0xFFFFFF:06x}"
    node, counter = identifier >> NODE_SHIFT, identifier & COUNTER_MASK
    return f"{node}.{counter}" if node else str(counter)
