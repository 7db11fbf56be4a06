"""Agent programs: calls one after the other, with a tool's time between them.

How many calls a program has is drawn from a mix:
  uniform    1 to 20
  geometric  mean 4
  pareto     shape 1.5, cut at 20: many short programs, a few long ones
Lengths of calls are drawn from a trace (or, without one, from two lognormals like the Azure
conversation trace's), gaps between calls are exponential, programs come at random (Poisson).
The next call comes a gap after the one before has ended, so a slow policy delays what follows.

Promise: one seed gives one workload, the same for every policy.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from bench.lab.call import Call
from bench.lab.engine_model import EngineModel
from bench.lab.replay import Outcome
from bench.lab.trace import read_trace

MAX_CALLS = 20
PARETO_SHAPE = 1.5
GEOMETRIC_MEAN = 4
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


MIXES: dict[str, Callable[[random.Random], int]] = {
    "uniform": uniform,
    "geometric": geometric,
    "pareto": pareto,
}


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
        BadTraceError: it is no trace.
    """
    lengths = Lengths.typical() if path is None else Lengths.of(read_trace(path))
    most = min(model.max_context, model.num_blocks * model.block_size)
    return Lengths([pair for pair in lengths.pairs if sum(pair) <= most])


class Programs:
    """A workload of programs; see bench/lab/replay.py ``Workload``."""

    def __init__(self, calls: list[list[Call]], gaps_ns: dict[int, int]) -> None:
        """calls: by program.  gaps_ns: before each call that is not its program's first."""
        self.calls = calls
        self.gaps_ns = gaps_ns
        self._next = {
            call.number: following for program in calls for call, following in pairwise(program)
        }

    def first(self) -> Iterable[Call]:
        """See ``Workload``."""
        return [program[0] for program in self.calls]

    def after(self, call: Call, now_ns: int) -> Call | None:
        """See ``Workload``."""
        following = self._next.get(call.number)
        if following is None:
            return None
        return replace(following, arrival_ns=now_ns + self.gaps_ns[following.number])

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
        for _ in range(MIXES[mix](numbers)):
            prompt, output = numbers.choice(lengths.pairs)
            owner = len(programs) % OWNERS + 1
            program.append(Call(number, arrival_ns, prompt, output, len(programs) + 1, owner))
            gaps_ns[number] = round(numbers.expovariate(1 / GAP_MEAN_S) * 1e9)
            number += 1
        programs.append(program)
    return Programs(programs, gaps_ns)


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
