"""What a replay is judged by. bench/README.md says what each figure means."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from bench.lab.replay import History, Outcome
from bench.report import Measurement

TOKEN_NS = 20_000_000  # as kernel/policy/least_attained.py compares service with waiting
FIRST_BOUND = 64


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure. higher_is_better: how two policies compare by it."""

    value: float
    unit: str
    higher_is_better: bool = False


Figures = dict[str, Figure]


def figures_of(history: History) -> Figures:
    """Return all figures of a replay.

    Raises:
        ValueError: nothing was computed.
    """
    outcomes = history.outcomes
    if not outcomes:
        raise ValueError("no call was computed")
    span_s = history.span_ns / 1e9
    prompt = sum(each.call.prompt_tokens for each in outcomes)
    output = sum(each.call.output_tokens for each in outcomes)
    found = {
        "throughput_calls": Figure(len(outcomes) / span_s, "1/s", True),
        "throughput_tokens": Figure(output / span_s, "1/s", True),
    }
    found |= _spread("wait", outcomes, lambda each: each.planned_ns - each.call.arrival_ns)
    found |= _spread("ttft", outcomes, lambda each: each.first_token_ns - each.call.arrival_ns)
    found |= _spread("completion", outcomes, lambda each: each.completion_ns)
    found |= _described("program", list(program_times_ns(outcomes).values()), 1e-9, "s")
    slowdowns = [each.completion_ns / each.alone_ns for each in outcomes]
    found |= _described("slowdown", slowdowns, 1.0, "")
    return found | {
        "jain": Figure(jain(owner_speeds(outcomes)), "", True),
        "worst_starved": Figure(max(starvation(outcomes).values()), ""),
        "utilisation": Figure(history.busy_ns / history.span_ns, "share", True),
        "kv_hit": Figure(sum(each.cached_tokens for each in outcomes) / prompt, "share", True),
        "preemptions": Figure(history.preemptions, ""),
        "refused": Figure(len(history.refused), "calls"),
        "held_back": Figure(history.held_back, "calls"),
        "steps": Figure(history.exact + history.skipped, ""),
        "steps_exact": Figure(history.exact, ""),
    }


def _spread(name: str, outcomes: Sequence[Outcome], of: Callable[[Outcome], int]) -> Figures:
    return _described(name, [of(each) for each in outcomes], 1e-9, "s")


def _described(name: str, values: Sequence[float], scale: float, unit: str) -> Figures:
    array = np.array(values, float) * scale
    p50, p99 = np.percentile(array, (50, 99))
    found = {"mean": array.mean(), "p50": p50, "p99": p99}
    return {f"{name}_{what}": Figure(float(value), unit) for what, value in found.items()}


def program_times_ns(outcomes: Iterable[Outcome]) -> dict[int, int]:
    """Return how long each program waited for its calls, all of them together."""
    times: dict[int, int] = defaultdict(int)
    for each in outcomes:
        times[each.call.program] += each.completion_ns
    return dict(times)


def starvation(outcomes: Iterable[Outcome]) -> dict[int, float]:
    """Return for each program its waiting over its service, as least_attained's bound counts it."""
    present: dict[int, int] = defaultdict(int)
    served: dict[int, int] = defaultdict(int)
    for each in outcomes:
        present[each.call.program] += each.completion_ns
        served[each.call.program] += each.call.prompt_tokens + each.call.output_tokens
    return {
        program: (present[program] - tokens * TOKEN_NS) / (max(tokens, FIRST_BOUND) * TOKEN_NS)
        for program, tokens in served.items()
    }


def owner_speeds(outcomes: Iterable[Outcome]) -> list[float]:
    """Return for each owner the time its calls take alone over the time they took."""
    alone: dict[int, int] = defaultdict(int)
    took: dict[int, int] = defaultdict(int)
    for each in outcomes:
        alone[each.call.owner] += each.alone_ns
        took[each.call.owner] += each.completion_ns
    return [alone[owner] / took[owner] for owner in alone]


def jain(values: Sequence[float]) -> float:
    """Return Jain's index: 1 when all are equal, 1/n when one has everything."""
    return sum(values) ** 2 / (len(values) * sum(value * value for value in values))


def measurements(policy: str, figures: Figures, floor: Figures | None) -> list[Measurement]:
    """Return the figures as the document of `llmos bench`; floor: of the policy compared to."""
    return [
        Measurement(
            f"{policy}_{name}",
            figure.value,
            figure.unit,
            floor[name].value if floor is not None and floor[name].value else None,
        )
        for name, figure in figures.items()
    ]
