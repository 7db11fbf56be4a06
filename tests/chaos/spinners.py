"""Agents that only use the CPU; those of the budget test."""

from __future__ import annotations

import time

from actors import Actor, receive


class Spinner(Actor):
    """Works for as long as it is told, measured in CPU time of its process."""

    @receive
    def spin(self, cpu_s: float) -> float:
        """Use so much CPU time; a ``def`` handler: its thread does not stop by itself."""
        end = time.process_time() + cpu_s
        while time.process_time() < end:
            pass
        return time.process_time()
