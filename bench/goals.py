"""What the figures are to reach, as the project has set it; the table says which are met."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from bench.report import Measurement, format_number


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound on a measurement's value or ratio."""

    of: Literal["value", "ratio"]
    bound: Literal["at most", "at least"]
    limit: float

    def is_met(self, measurement: Measurement) -> bool:
        """Say whether the measurement keeps to it."""
        number = getattr(measurement, self.of)
        met: Callable[[float, float], bool] = float.__le__
        if self.bound == "at least":
            met = float.__ge__
        return number is not None and met(float(number), self.limit)

    def __str__(self) -> str:
        sign = "<=" if self.bound == "at most" else ">="
        return f"{sign} {format_number(self.limit)}{'x' if self.of == 'ratio' else ''}"


GOALS = {
    "ask_rtt_64B": Goal("ratio", "at most", 3.0),
    "tells_per_s": Goal("ratio", "at least", 0.5),
    "tells_per_s_turns": Goal("ratio", "at least", 0.5),
    "asks_32_per_s": Goal("ratio", "at least", 0.5),
    "spawn_ms": Goal("value", "at most", 20.0),
    "agent_pss_mib": Goal("value", "at most", 12.0),
    "kernel_rss_mib": Goal("value", "at most", 80.0),
    "kernel_idle_cpu_percent": Goal("value", "at most", 1.0),
    "recovery_100k_s": Goal("value", "at most", 3.0),
    "llm_steady_256_step_us": Goal("value", "at most", 100.0),
    "llm_small_tokens_per_s": Goal("ratio", "at least", 2.5),
    "llm_small_vs_one_by_one": Goal("ratio", "at least", 5.0),
    "llm_small_kernel_cpu_percent": Goal("value", "at most", 5.0),
    "llm_small_first_token_cached_ms": Goal("ratio", "at most", 0.2),
    "llm_small_urgent_steps": Goal("value", "at most", 2.0),
    "llm_medium_vs_one_by_one": Goal("ratio", "at least", 2.5),
    "llm_medium_gflops": Goal("ratio", "at least", 0.5),
    "llm_medium_kernel_cpu_percent": Goal("value", "at most", 5.0),
}


def verdict(measurement: Measurement) -> str:
    """Return the goal and whether it is met, or nothing where there is none."""
    goal = GOALS.get(measurement.name)
    if goal is None:
        return ""
    return f"{goal} {'met' if goal.is_met(measurement) else 'missed'}"
