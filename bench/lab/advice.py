"""Names the policy that is best for an objective, and says by how much and at what price."""

from __future__ import annotations

from dataclasses import dataclass

from bench.lab.figures import Figures
from bench.lab.table import COMPARED_TO, Results
from bench.report import format_number

OBJECTIVES = {
    "mean-completion": "completion_mean",
    "p99-completion": "completion_p99",
    "mean-program-completion": "program_mean",
    "mean-wait": "wait_mean",
    "p99-wait": "wait_p99",
    "mean-ttft": "ttft_mean",
    "p99-ttft": "ttft_p99",
    "slowdown": "slowdown_mean",
    "fairness": "jain",
    "throughput": "throughput_tokens",
}
SAME = 0.02  # a smaller difference is no reason to leave first come first served
PRICES = ("completion_mean", "completion_p99", "ttft_p99", "program_mean", "jain")


@dataclass(frozen=True, slots=True)
class Advice:
    """See the module head. ranking: the best first, with what each has of the objective."""

    objective: str
    best: str
    ranking: list[tuple[str, float]]
    reasons: list[str]


def advise(results: Results, objective: str) -> Advice:
    """Return the advice for an objective of OBJECTIVES; the results have COMPARED_TO among them."""
    name = OBJECTIVES[objective]
    base = results[COMPARED_TO][name]
    sign = -1 if base.higher_is_better else 1
    ranking = sorted(
        ((policy, figures[name].value) for policy, figures in results.items()),
        key=lambda pair: (sign * pair[1], pair[0] != COMPARED_TO),
    )
    best, value = ranking[0]
    gain = sign * (base.value - value) / abs(base.value) if base.value else 0.0
    if best != COMPARED_TO and gain < SAME:
        theirs, ours = format_number(base.value), f"{format_number(value)} {base.unit}".rstrip()
        reason = (
            f"no policy is better than {COMPARED_TO} by {SAME:.0%} in {name}: the best, {best}, "
            f"has {ours} against {theirs}"
        )
        return Advice(objective, COMPARED_TO, ranking, [reason])
    return Advice(objective, best, ranking, _reasons(results, name, ranking, gain))


def _reasons(
    results: Results, name: str, ranking: list[tuple[str, float]], gain: float
) -> list[str]:
    best, value = ranking[0]
    figures, base = results[best], results[COMPARED_TO]
    unit = base[name].unit
    reasons = [f"{name} is {format_number(value)} {unit}".rstrip()]
    if best != COMPARED_TO:
        reasons[0] += f", {gain:.0%} better than {COMPARED_TO}'s {format_number(base[name].value)}"
    if len(ranking) > 1:
        reasons.append(
            f"next is {ranking[1][0]} with {format_number(ranking[1][1])} {unit}".rstrip()
        )
    return reasons + [
        _price(other, figures, base) for other in PRICES if _is_worse(other, figures, base)
    ]


def _is_worse(name: str, figures: Figures, base: Figures) -> bool:
    ours, theirs = figures[name], base[name].value
    lost = theirs - ours.value if ours.higher_is_better else ours.value - theirs
    return lost > SAME * abs(theirs)


def _price(name: str, figures: Figures, base: Figures) -> str:
    ours, theirs = format_number(figures[name].value), format_number(base[name].value)
    return f"the price: {name} is {ours} where {COMPARED_TO} has {theirs}"
