"""Agent programs: calls one after the other, or side by side, with a tool's time between them.

How many calls a program has is drawn from a mix:
  uniform    1 to 20
  geometric  mean 4
  pareto     shape 1.5, cut at 20: many short programs, a few long ones
  branching  rounds, pareto of shape 1.5 cut at 5; in each, one call deals out 2 to 8 that run side
             by side, and the next one needs the results of all of them
Lengths of calls are drawn from a trace (or, without one, from two lognormals like the Azure
conversation trace's), gaps between calls are exponential, programs come at random (Poisson).
A call comes a gap after all that it needs have ended, so a slow policy delays what follows.

Promise: one seed gives one workload, the same for every policy.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from bench.lab.call import Call
from bench.lab.engine_model import EngineModel
from bench.lab.replay import Outcome
from bench.lab.trace import read_trace
from ipc.errors import BadLoadError

MAX_CALLS = 20
PARETO_SHAPE = 1.5
GEOMETRIC_MEAN = 4
MAX_ROUNDS, MAX_WIDTH = 5, 8
GAP_MEAN_S = 1.0
OWNERS = 16


def uniform(numbers: random.Random) -> int:
    """Return a number of calls: 1 to 20, all as likely."""
    return numbers.randint(1, MAX_CALLS)


def geometric(numbers: random.Random) -> int:
    """Return a number of calls: geometric, mean 4."""
    return 1 + int(math.log(1 - numbers.random()) / math.log(1 - 1 / GEOMETRIC_MEAN))


def pareto(numbers: random.Random) -> int:
    """Return a number of calls: Pareto, cut at 20."""
    return min(MAX_CALLS, int(numbers.paretovariate(PARETO_SHAPE)))


def branching(numbers: random.Random) -> list[int]:
    """Return how many calls run side by side, stage by stage."""
    widths = [1]
    for _ in range(min(MAX_ROUNDS, int(numbers.paretovariate(PARETO_SHAPE)))):
        widths += [numbers.randint(2, MAX_WIDTH), 1]
    return widths


CHAINS: dict[str, Callable[[random.Random], int]] = {  # of programs that do not branch
    "uniform": uniform,
    "geometric": geometric,
    "pareto": pareto,
}
MIXES = (*CHAINS, "branching")


@dataclass(frozen=True, slots=True)
class Lengths:
    """Where the lengths of calls are drawn from: (prompt, output) pairs."""

    pairs: Sequence[tuple[int, int]]

    @classmethod
    def of(cls, calls: Iterable[Call]) -> Lengths:
        """Return those of a trace."""
        return cls([(call.prompt_tokens, call.output_tokens) for call in calls])

    @classmethod
    def typical(cls) -> Lengths:
        """Return lengths with about the medians and the spread of the Azure conversation trace."""
        numbers = random.Random(0)
        return cls(
            [
                (
                    max(1, min(8_000, round(numbers.lognormvariate(6.7, 0.9)))),
                    max(1, min(1_000, round(numbers.lognormvariate(4.9, 0.9)))),
                )
                for _ in range(4_000)
            ]
        )


def fitting_lengths(path: Path | None, model: EngineModel) -> Lengths:
    """Return the lengths of a trace, or typical ones, that the engine can hold.

    Raises:
        BadTraceError: it is no trace. BadLoadError: the engine can hold none of them.
    """
    lengths = Lengths.typical() if path is None else Lengths.of(read_trace(path))
    most = min(model.max_context, model.num_blocks * model.block_size)
    fitting = [pair for pair in lengths.pairs if sum(pair) <= most]
    if not fitting:
        raise BadLoadError(what="calls that the engine can hold", value=0, needs="1 or more")
    return Lengths(fitting)


class Programs:
    """A workload of programs; see bench/lab/replay.py ``Workload``."""

    def __init__(self, calls: list[list[Call]], gaps_ns: dict[int, int]) -> None:
        """calls: by program, each after its parents.  gaps_ns: before each that has parents."""
        self.calls = calls
        self.gaps_ns = gaps_ns
        self._children: dict[int, list[Call]] = {}
        for call in chain.from_iterable(calls):
            for parent in call.parents:
                self._children.setdefault(parent, []).append(call)
        self._missing: dict[int, int] = {}  # parents that have not ended, by call

    def first(self) -> Iterable[Call]:
        """See ``Workload``."""
        self._missing = {call.number: len(call.parents) for call in chain.from_iterable(self.calls)}
        return [program[0] for program in self.calls]

    def after(self, call: Call, now_ns: int) -> Iterable[Call]:
        """See ``Workload``."""
        for child in self._children.get(call.number, ()):
            self._missing[child.number] -= 1
            if not self._missing[child.number]:
                yield replace(child, arrival_ns=now_ns + self.gaps_ns[child.number])

    def tools(self, call: Call) -> Sequence[str]:
        """See ``Workload``: contexts are not shared between the calls, so nothing is held."""
        return ()

    @property
    def num_calls(self) -> int:
        """Calls of all programs."""
        return sum(map(len, self.calls))


def make_programs(mix: str, lengths: Lengths, *, num_calls: int, seed: int) -> Programs:
    """Return programs with about so many calls; they arrive one a second, at random."""
    # A number of its own for each mix, so that mixes do not see the same draws.
    numbers = random.Random(f"{mix} {seed}")
    programs: list[list[Call]] = []
    gaps_ns: dict[int, int] = {}
    number = arrival_ns = 0
    while number < num_calls:
        arrival_ns += round(numbers.expovariate(1.0) * 1e9)
        program: list[Call] = []
        identity, owner = len(programs) + 1, len(programs) % OWNERS + 1
        parents: tuple[int, ...] = ()
        for width in widths(mix, numbers):
            for _ in range(width):
                prompt, output = numbers.choice(lengths.pairs)
                call = Call(number, arrival_ns, prompt, output, identity, owner, parents=parents)
                program.append(call)
                gaps_ns[number] = round(numbers.expovariate(1 / GAP_MEAN_S) * 1e9)
                number += 1
            parents = tuple(range(number - width, number))
        programs.append(program)
    return Programs(programs, gaps_ns)


def widths(mix: str, numbers: random.Random) -> list[int]:
    """Return how many calls of a program run side by side, stage by stage."""
    return branching(numbers) if mix == "branching" else [1] * CHAINS[mix](numbers)


def at_load(programs: Programs, load: float, calls_per_s: float) -> Programs:
    """Return the programs arriving so that their calls are this share of what the engine ends."""
    mean_calls = programs.num_calls / len(programs.calls)
    factor = mean_calls / (load * calls_per_s)
    calls = [
        [replace(call, arrival_ns=round(call.arrival_ns * factor)) for call in program]
        for program in programs.calls
    ]
    return Programs(calls, programs.gaps_ns)


def end_to_end_s(outcomes: Iterable[Outcome]) -> list[float]:
    """Return for each program the time from its first call's arrival to its last call's end."""
    begun: dict[int, int] = {}
    ended: dict[int, int] = {}
    for each in outcomes:
        program = each.call.program
        begun[program] = min(begun.get(program, each.call.arrival_ns), each.call.arrival_ns)
        ended[program] = max(ended.get(program, 0), each.ended_ns)
    return [(ended[program] - begun[program]) / 1e9 for program in begun]
