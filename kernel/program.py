"""Which program a message is part of: all work that one root message has set off.

The root is what a client sends, or what the kernel tells an agent by itself. Its trace id (16 bytes
of the wire header) goes with every ask, tell, timer, publish and LLM call made while serving it,
and on from there: the SDK copies it from the turn's message (actors/port.py), the kernel journals
it with the message. So a program is the same before and after a crash.

A message without a trace, of a peer that is not our SDK, is a program of its own.
Pure. Cost: O(1).
"""

from __future__ import annotations


def root_trace(message: int) -> bytes:
    """Return the trace id of what the kernel itself sets off with this message."""
    return message.to_bytes(16, "little")


def program_name(trace: bytes, message: int) -> str:
    """Return what a scheduling policy calls the program of a message."""
    return trace.hex() if trace else f"m{message}"


def program_number(trace: bytes) -> int:
    """Return the number by which LLM requests name their program; 0: it has no trace."""
    return int.from_bytes(trace, "little")
