"""The command `ideal`: how much order alone can win for agent programs, on servers without costs.

Question: what is the most that a policy could make of a mix? A call here takes one of `servers`
for the time it would have an engine to itself; giving way is free and nothing is computed twice.
So no policy on an engine with so many places can be expected to do better than its like here:
  fcfs            calls in the order of arrival
  least_attained  the program that has had least, with what the call at hand takes, by whole calls:
                  who has begun goes on
  preempting      the same, but whoever has less takes over at once
  known           the program with least to come in all its calls: nobody can know that, and for one
                  server nothing is better
What is found: as a program's next call comes when the last has ended, first come first served is
round robin among programs already, and there is less to win than for jobs served in one piece.
Run: python -m bench.lab ideal [--lengths TRACE] [--servers 1,4]
"""

from __future__ import annotations

import argparse
import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.lab import arguments
from bench.lab.engine_model import EngineModel, engine_model
from bench.lab.programs import (
    CHAINS,
    Lengths,
    Programs,
    at_load,
    fitting_lengths,
    make_programs,
)
from bench.report import Measurement, format_number, print_json

SECOND = 1e9


@dataclass(slots=True)
class Going:
    """A program's call that waits or runs. Times in ns. left: to come of it; ahead: after it."""

    number: int
    order: int
    place: int
    left: float
    ahead: float
    attained: float = 0.0
    has_begun: bool = False


Rank = Callable[[Going], tuple[float, ...]]
ORDERS: dict[str, Rank] = {
    "fcfs": lambda each: (each.order,),
    "least_attained": lambda each: (not each.has_begun, each.attained + each.left, each.order),
    "preempting": lambda each: (each.attained + each.left, each.order),
    "known": lambda each: (each.left + each.ahead, each.order),
}


class Servers:
    """A few servers and the programs that come to them; ``run`` once."""

    def __init__(self, programs: Programs, model: EngineModel, servers: int, rank: Rank) -> None:
        self._servers = servers
        self._rank = rank
        self._gaps_ns = programs.gaps_ns
        self._calls = programs.calls
        self._times = [
            [model.alone_ns(call.prompt_tokens, call.output_tokens) for call in program]
            for program in programs.calls
        ]
        self._coming: list[tuple[float, int, int]] = [
            (program[0].arrival_ns, number, 0) for number, program in enumerate(programs.calls)
        ]
        heapq.heapify(self._coming)
        self._attained = [0.0] * len(programs.calls)
        self._here: list[Going] = []
        self._ended_ns: dict[int, float] = {}
        self._now_ns = 0.0
        self._order = 0

    def run(self) -> list[float]:
        """Return each program's time from its first arrival to its last end, in seconds."""
        while self._coming or self._here:
            self._serve()
            self._admit()
        return [
            (self._ended_ns[number] - program[0].arrival_ns) / SECOND
            for number, program in enumerate(self._calls)
        ]

    def _serve(self) -> None:
        """Let time pass until somebody comes or a call has ended."""
        running = heapq.nsmallest(self._servers, self._here, key=self._rank)
        until_ns = self._coming[0][0] if self._coming else inf
        passed = min([until_ns - self._now_ns, *(each.left for each in running)])
        self._now_ns += passed
        for each in running:
            each.has_begun = True
            each.left -= passed
            each.attained += passed
            if each.left < 1:
                self._end(each)

    def _end(self, each: Going) -> None:
        self._here.remove(each)
        number, place = each.number, each.place + 1
        self._attained[number] = each.attained
        if place == len(self._times[number]):
            self._ended_ns[number] = self._now_ns
            return
        gap_ns = self._gaps_ns[self._calls[number][place].number]
        heapq.heappush(self._coming, (self._now_ns + gap_ns, number, place))

    def _admit(self) -> None:
        while self._coming and self._coming[0][0] <= self._now_ns:
            _, number, place = heapq.heappop(self._coming)
            times = self._times[number]
            self._order += 1
            ahead, attained = sum(times[place + 1 :]), self._attained[number]
            here = Going(number, self._order, place, times[place], ahead, attained)
            self._here.append(here)


def add_parser(commands: Any) -> None:
    """Add the command to the lab's."""
    parser = commands.add_parser(
        "ideal",
        help="what order alone can win, on servers without costs",
        epilog="Example: llmos lab ideal --mix pareto --servers 1,4",
    )
    parser.set_defaults(command=run)
    arguments.add_workload(parser, tuple(CHAINS), engine="gpu-8b-small", seeds=4, calls=3_000)
    parser.add_argument(
        "--servers",
        type=arguments.wholes("--servers"),
        default=[1, 4],
        metavar="N,...",
        help="how many calls at once (default: 1,4)",
    )


def run(options: argparse.Namespace) -> None:
    """Show what each order gives on each mix, beside first come first served."""
    model = engine_model(options.engine_model)
    lengths = fitting_lengths(options.lengths, model)
    found: list[Measurement] = []
    for mix in options.mix:
        for servers in options.servers:
            means = mean_times(mix, lengths, model, servers, options)
            found += [
                Measurement(f"ideal_{mix}_{servers}_{name}", value, "s", means["fcfs"])
                for name, value in means.items()
            ]
    if options.json:
        print_json(found)
    else:
        Console(width=100).print(table(found))


def mean_times(
    mix: str, lengths: Lengths, model: EngineModel, servers: int, options: argparse.Namespace
) -> dict[str, float]:
    """Return by order the mean program completion over all seeds, in seconds."""
    means: dict[str, list[float]] = {name: [] for name in ORDERS}
    for seed in range(options.seeds):
        programs = make_programs(mix, lengths, num_calls=options.calls, seed=seed)
        every = [call for program in programs.calls for call in program]
        alone_ns = fmean(model.alone_ns(call.prompt_tokens, call.output_tokens) for call in every)
        programs = at_load(programs, options.load, servers / alone_ns * SECOND)
        for name, rank in ORDERS.items():
            means[name].append(fmean(Servers(programs, model, servers, rank).run()))
    return {name: fmean(values) for name, values in means.items()}


def table(found: Sequence[Measurement]) -> Table:
    """Return one row a mix and number of servers."""
    shown = Table(title="mean program completion on servers without costs, of fcfs")
    for heading in ("mix, servers", "fcfs, s", *list(ORDERS)[1:]):
        shown.add_column(heading, justify="right")
    for start in range(0, len(found), len(ORDERS)):
        base, *others = found[start : start + len(ORDERS)]
        label = base.name.removeprefix("ideal_").removesuffix("_fcfs").replace("_", ", ")
        shares = [f"{each.value / base.value:.3f}" for each in others]
        shown.add_row(label, format_number(base.value), *shares)
    return shown
