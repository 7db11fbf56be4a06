"""How weights and limits of agents are kept on this machine, and how an agent is ended whole.

The best there is, found at start: control groups with their controllers; control groups for the
kill alone, with niceness for the weights; niceness and resource limits (rlimits, which the agent's
process sets itself: actors/child.py). ``describe`` says which; `llmos resources` shows it.

Promise: what cannot be kept is said in the log once, and is no reason not to start an agent.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from ipc.control_groups import CONTROLLERS
from ipc.protocol import SpawnSpec
from ipc.start import GroupRecipe
from kernel.host.structured_log import structlog
from kernel.resources.agent_groups import (
    MAX_WEIGHT,
    USUAL_WEIGHT,
    AgentGroups,
    GroupLimits,
)
from kernel.resources.shares import to_nice

log = structlog.get_logger(__name__)


class Enforcement:
    """See the module head."""

    def __init__(
        self,
        groups: AgentGroups | None,
        problem: str = "",
        *,
        is_for_all: bool = False,
        is_root: bool = False,
    ) -> None:
        """groups: None: there are none, and ``problem`` says why.

        is_for_all: each agent gets one, not only those that ask for a weight or a limit.
        is_root: this is the user whom no rlimit keeps from making processes.
        """
        self._groups = groups
        self._is_for_all = is_for_all
        self._is_root = is_root
        self._problem = problem
        self._said: set[str] = set()

    @property
    def controllers(self) -> frozenset[str]:
        """Return the controllers our groups have: of cpu, memory, pids."""
        return self._groups.controllers if self._groups is not None else frozenset()

    @property
    def _keeps_processes(self) -> bool:
        return "pids" in self.controllers or not self._is_root

    def describe(self) -> str:
        """Say how limits are kept."""
        gap = "" if self._keeps_processes else "; no limit of processes: this is root"
        return self._means() + gap

    def _means(self) -> str:
        if self._groups is None:
            return f"rlimits and niceness ({self._problem})"
        has = [name for name in CONTROLLERS if name in self.controllers]
        if not has:
            return "rlimits and niceness; control groups for kills only (no controllers here)"
        missing = [name for name in CONTROLLERS if name not in self.controllers]
        rest = f", rlimits for the rest (no {', '.join(missing)})" if missing else ""
        return f"control groups ({', '.join(has)}){rest}"

    def recipe(self, actor: int, incarnation: int, spec: SpawnSpec) -> GroupRecipe | None:
        """Return the control group that the agent is to make; None: it gets none.

        Where CPU weights are kept by groups all agents have one: weights count among groups only.
        """
        if spec.get("cpu_limit") is not None and "cpu" not in self.controllers:
            self._say("cpu_limit", "CPU limits need the cpu controller of control groups")
        limits = limits_of(spec)
        if limits.processes is not None and not self._keeps_processes:
            self._say("processes", "as root, limits of processes need the pids controller")
        is_for_all = self._is_for_all or "cpu" in self.controllers
        if self._groups is None or not (is_for_all or limits != GroupLimits()):
            return None
        return self._groups.recipe(actor, incarnation, limits)

    def weigh(self, actor: int, incarnation: int, pid: int, weight: int) -> None:
        """Set an agent's CPU weight; by its niceness where there is no controller."""
        if self._groups is not None and self._groups.weigh(actor, incarnation, weight):
            return
        try:
            set_nice(pid, to_nice(weight))
        except OSError as error:
            self._say("nice", f"CPU weights cannot be kept: {error.strerror}")

    def adopt(self, actor: int, incarnation: int, pid: int) -> None:
        """Take over an agent that the kernel before this one has started."""
        if self._groups is not None:
            self._groups.adopt(actor, incarnation, pid)

    def discard(self, actor: int, incarnation: int) -> None:
        """The agent is gone: SIGKILL all that is left in its group. May wait."""
        if self._groups is not None:
            self._groups.discard(actor, incarnation)

    def tidy(self) -> bool:
        """Remove groups that have become empty; say whether some are left. May wait."""
        return self._groups is not None and self._groups.tidy()

    def close(self) -> None:
        """Let go; agents live on."""
        if self._groups is not None:
            self._groups.close()

    def _say(self, what: str, problem: str) -> None:
        if what not in self._said:
            self._said.add(what)
            log.warning("limit_not_kept", problem=problem)


def limits_of(spec: SpawnSpec) -> GroupLimits:
    """Return the limits of an agent's group: here they bind its whole process tree."""
    rlimits = spec.get("rlimits", {})
    weight = round(spec.get("weight", 1.0) * USUAL_WEIGHT)
    return GroupLimits(
        weight=min(max(weight, 1), MAX_WEIGHT),
        cpu_millis=spec.get("cpu_limit"),
        memory_bytes=rlimits.get("memory_bytes"),
        memory_floor_bytes=spec.get("reserve", {}).get("memory", 0),
        processes=rlimits.get("processes"),
    )


def set_nice(pid: int, nice: int) -> None:
    """Set the niceness of an agent's process group, all threads. Raises OSError.

    Where sessions are scheduled as groups (autogroup), theirs counts: an agent has its own.
    """
    os.setpriority(os.PRIO_PGRP, pid, nice)
    with contextlib.suppress(FileNotFoundError):
        Path(f"/proc/{pid}/autogroup").write_text(str(nice))
