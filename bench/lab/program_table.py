"""The command `programs`: agent programs under every policy, with confidence intervals.

Question: how much sooner is a program done if calls are ordered by what the whole program has had?
Goal: on the pareto mix at 0.9 of saturation, least_attained's mean completion of a program, tools'
time included, is at most half of first-come-first-served's; no program waits more than `patience`
times its service and what was promoted before it (kernel/policy/least_attained.py). `ideal` says
how much of that is to be had at all (bench/lab/ideal.py).
Run: python -m bench.lab programs [--lengths TRACE] [--seeds 20]

Every policy sees the same programs for each seed. Intervals are of the mean over seeds, 95 %, by
resampling the seeds; `of fcfs` is the mean of the ratios, seed by seed.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.lab import arguments
from bench.lab.engine_model import EngineModel, engine_model
from bench.lab.figures import figures_of, starvation
from bench.lab.load import saturation
from bench.lab.programs import (
    MIXES,
    Lengths,
    at_load,
    end_to_end_s,
    fitting_lengths,
    make_programs,
)
from bench.lab.replay import Replay
from bench.lab.table import COMPARED_TO
from bench.report import Measurement, format_number, print_json
from kernel.llm.named_policies import NAMES, policy_by_name

RESAMPLES = 2_000


@dataclass(frozen=True, slots=True)
class Trial:
    """One policy on one seed's programs. starved: the worst program's waiting over its service."""

    program_s: float
    program_p99_s: float
    call_s: float
    starved: float
    jain: float
    preemptions: float


def add_parser(commands: Any) -> None:
    """Add the command to the lab's."""
    parser = commands.add_parser(
        "programs",
        help="agent programs under every policy",
        epilog="Example: llmos lab programs --mix pareto --policy least_attained --seeds 3",
    )
    parser.set_defaults(command=run)
    arguments.add_workload(parser, MIXES, engine="cpu-1b", seeds=20, calls=1_000)
    parser.add_argument(
        "--policy",
        default="all",
        metavar="NAME,...",
        help="or all; fcfs is always run (default: all)",
    )


def run(options: argparse.Namespace) -> None:
    """Run every policy on every mix and seed, and show the means."""
    wanted = NAMES if options.policy == "all" else options.policy.split(",")
    names = list(dict.fromkeys([COMPARED_TO, *wanted]))
    for name in names:
        policy_by_name(name)  # an unknown one is refused before anything is computed
    model = engine_model(options.engine_model)
    lengths = fitting_lengths(options.lengths, model)
    found: list[Measurement] = []
    for mix in options.mix:
        trials = run_mix(mix, names, lengths, model, options)
        found += measured(mix, trials)
        if not options.json:
            Console(width=120).print(table(f"{mix}, {options.engine_model}", trials))
    if options.json:
        print_json(found)


def run_mix(
    mix: str,
    names: Sequence[str],
    lengths: Lengths,
    model: EngineModel,
    options: argparse.Namespace,
) -> dict[str, list[Trial]]:
    """Return by policy its trials, in the order of seeds."""
    trials: dict[str, list[Trial]] = {name: [] for name in names}
    with Console(stderr=True).status("") as status:
        for seed in range(options.seeds):
            programs = make_programs(mix, lengths, num_calls=options.calls, seed=seed)
            per_s = saturation([call for each in programs.calls for call in each], model)
            programs = at_load(programs, options.load, per_s)
            for name in names:
                status.update(f"{mix}, seed {seed}, {name}")
                trials[name].append(trial(Replay(programs, model, name)))
    return trials


def trial(replay: Replay) -> Trial:
    """Run one replay."""
    history = replay.run()
    times = end_to_end_s(history.outcomes)
    figures = figures_of(history)
    return Trial(
        program_s=fmean(times),
        program_p99_s=float(np.percentile(times, 99)),
        call_s=figures["completion_mean"].value,
        starved=max(starvation(history.outcomes).values()),
        jain=figures["jain"].value,
        preemptions=figures["preemptions"].value,
    )


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % confidence interval of the mean, by resampling."""
    drawn = np.random.default_rng(1).choice(np.array(values), (RESAMPLES, len(values)))
    low, high = np.percentile(drawn.mean(axis=1), (2.5, 97.5))
    return float(low), float(high)


def ratios(trials: dict[str, list[Trial]], name: str) -> list[float]:
    """Return a policy's mean program completion over that of fcfs, seed by seed."""
    pairs = zip(trials[name], trials[COMPARED_TO], strict=True)
    return [ours.program_s / theirs.program_s for ours, theirs in pairs]


def table(title: str, trials: dict[str, list[Trial]]) -> Table:
    """Return one row a policy."""
    shown = Table(title=title)
    headings = ("policy", "program s", "95 %", "of fcfs", "95 %", "p99 s", "call s", "starved")
    for heading in (*headings, "jain", "preempted"):
        shown.add_column(heading, justify="left" if heading == "policy" else "right")
    for name, each in trials.items():
        means = [one.program_s for one in each]
        shares = ratios(trials, name)
        rest = (
            fmean(one.program_p99_s for one in each),
            fmean(one.call_s for one in each),
            max(one.starved for one in each),
            fmean(one.jain for one in each),
            fmean(one.preemptions for one in each),
        )
        shown.add_row(
            name,
            format_number(fmean(means)),
            span(interval(means)),
            f"{fmean(shares):.3f}",
            span(interval(shares)),
            *map(format_number, rest),
        )
    return shown


def span(pair: tuple[float, float]) -> str:
    """Return an interval as text."""
    return f"{pair[0]:.3g}-{pair[1]:.3g}"


def measured(mix: str, trials: dict[str, list[Trial]]) -> list[Measurement]:
    """Return the means and their intervals, fcfs the floor."""
    found = []
    base = fmean(one.program_s for one in trials[COMPARED_TO])
    for name, each in trials.items():
        means = [one.program_s for one in each]
        low, high = interval(means)
        label = f"{mix}_{name}"
        shares = ratios(trials, name)
        share_low, share_high = interval(shares)
        found += [
            Measurement(f"{label}_program_mean", fmean(means), "s", base),
            Measurement(f"{label}_program_mean_low", low, "s"),
            Measurement(f"{label}_program_mean_high", high, "s"),
            Measurement(f"{label}_of_fcfs", fmean(shares), ""),
            Measurement(f"{label}_of_fcfs_low", share_low, ""),
            Measurement(f"{label}_of_fcfs_high", share_high, ""),
            Measurement(f"{label}_program_p99", fmean(one.program_p99_s for one in each), "s"),
            Measurement(f"{label}_call_mean", fmean(one.call_s for one in each), "s"),
            Measurement(f"{label}_worst_starved", max(one.starved for one in each), ""),
            Measurement(f"{label}_jain", fmean(one.jain for one in each), ""),
            Measurement(f"{label}_preemptions", fmean(one.preemptions for one in each), ""),
        ]
    return found
