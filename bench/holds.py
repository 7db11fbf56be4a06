"""Contexts held while tools are out: what is computed again, and how long programs take.

Question: what do holds gain whose length is learned from how long each tool takes
(kernel/policy/hold_time.py), and what if they are copied to host memory when that is up
(kernel/llm/demotion.py)? Replayed in the lab on `gpu-8b` with a small pool, first come first
served: agent programs of 2 to 12 calls whose context grows by each answer and each tool's result,
and which come by themselves (Poisson) at so many a second.
Run: python -m bench.holds [--json] [--quick]

  cached_P_L        share of prompt tokens found cached at load L; floor: without holds. P: learned,
                    a fixed time for every tool, or learned with so many host blocks
  program_s_P_L     mean time of a program without its tools; floor: without holds
  busy_P_L          the engine's time for the same work; floor: without holds
  us_hold           microseconds of processor time a completion that ends with a tool call
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from statistics import fmean
from time import process_time_ns

from bench.lab.call import Call
from bench.lab.engine_model import engine_model
from bench.lab.programs import end_to_end_s
from bench.lab.replay import History, Replay
from bench.report import Measurement, print_json, print_table
from kernel.policy.hold_time import HoldTimes

NUM_PROGRAMS, QUICK_PROGRAMS = 200, 40
LOADS = (1.0, 2.0)  # programs a second
NUM_BLOCKS = 5_000  # of 16 tokens
MOST_S = 120.0
FIXED_S = (2.0, 30.0)
HOST_BLOCKS = (32_000, 1_000)
SHARED_TOKENS = 512  # of the same instructions in every prompt
TOOLS: dict[str, Callable[[random.Random], float]] = {  # seconds
    "read": lambda numbers: numbers.expovariate(1 / 0.3),
    "search": lambda numbers: numbers.lognormvariate(0.9, 0.4),
    "test": lambda numbers: numbers.lognormvariate(3.2, 0.5),
    "ask": lambda numbers: numbers.lognormvariate(5.0, 0.8),
}
WEIGHTS = (5, 4, 2, 1)


class ToolPrograms:
    """A workload (see bench/lab/replay.py): each call has all of the one before as its prefix."""

    def __init__(self, number: int, per_s: float, seed: int = 1) -> None:
        self._following: dict[int, Call] = {}
        self._tool: dict[int, str] = {}  # by the call that it is called by
        self.gaps_ns: dict[int, int] = {}
        self._first: list[Call] = []
        numbers = random.Random(seed)
        at_ns = index = 0
        for program in range(1, number + 1):
            at_ns += round(numbers.expovariate(per_s) * 1e9)
            index = self._add_program(numbers, program, index, at_ns)

    def _add_program(self, numbers: random.Random, program: int, index: int, at_ns: int) -> int:
        prefix = [(1, SHARED_TOKENS), (program * 16, numbers.randint(500, 3_000))]
        before: Call | None = None
        for turn in range(numbers.randint(2, 12)):
            if before is not None:
                # The lab's engine says nothing but zeros; a result is the program's own.
                prefix.append((0, before.output_tokens))
                prefix.append((program * 16 + turn, numbers.randint(50, 800)))
            prompt = sum(tokens for _, tokens in prefix)
            owner = program % 16 + 1
            call = Call(
                index, at_ns, prompt, numbers.randint(40, 200), program, owner, "", tuple(prefix)
            )
            if before is None:
                self._first.append(call)
            else:
                (tool,) = numbers.choices(list(TOOLS), WEIGHTS)
                self._following[before.number], self._tool[before.number] = call, tool
                self.gaps_ns[call.number] = round(TOOLS[tool](numbers) * 1e9)
            before, index = call, index + 1
        return index

    def first(self) -> Iterable[Call]:
        """See ``Workload``."""
        return self._first

    def after(self, call: Call, now_ns: int) -> Iterable[Call]:
        """See ``Workload``."""
        following = self._following.get(call.number)
        if following is not None:
            yield replace(following, arrival_ns=now_ns + self.gaps_ns[following.number])

    def tools(self, call: Call) -> Sequence[str]:
        """See ``Workload``."""
        return [self._tool[call.number]] if call.number in self._tool else ()


class Fixed(HoldTimes):
    """Holds as long for every tool."""

    def __init__(self, time_s: float) -> None:
        super().__init__()
        self._time_s = time_s

    def hold_s(self, tools: str, call_site: str, refill_s: float) -> float:
        return self._time_s


def replayed(
    number: int, per_s: float, times: HoldTimes | None, host_blocks: int = 0
) -> tuple[History, ToolPrograms]:
    programs = ToolPrograms(number, per_s)
    preset = engine_model("gpu-8b")
    model = replace(preset, num_blocks=NUM_BLOCKS, num_host_blocks=host_blocks)
    hold_s = MOST_S if times is not None else 0.0
    return Replay(programs, model, "fcfs", hold_s=hold_s, hold_times=times).run(), programs


def figures(
    number: int, per_s: float, times: HoldTimes | None, host_blocks: int = 0
) -> dict[str, tuple[float, str]]:
    history, programs = replayed(number, per_s, times, host_blocks)
    cached = sum(each.cached_tokens for each in history.outcomes)
    prompts = sum(each.call.prompt_tokens for each in history.outcomes)
    tools_s = sum(programs.gaps_ns.values()) / 1e9 / number
    return {
        "cached": (cached / prompts, "share"),
        "program_s": (fmean(end_to_end_s(history.outcomes)) - tools_s, "s"),
        "busy": (history.busy_ns / 1e9, "s"),
    }


def measured(number: int, loads: Sequence[float]) -> list[Measurement]:
    found = []
    for per_s in loads:
        floors = figures(number, per_s, None)
        kinds: dict[str, tuple[HoldTimes, int]] = {
            "learned": (HoldTimes(), 0),
            **{f"{time:g}s": (Fixed(time), 0) for time in FIXED_S},
            **{f"host{blocks}": (HoldTimes(), blocks) for blocks in HOST_BLOCKS},
        }
        for kind, (times, blocks) in kinds.items():
            for name, (value, unit) in figures(number, per_s, times, blocks).items():
                label = f"{name}_{kind}_{per_s:g}"
                found.append(Measurement(label, value, unit, floors[name][0] or None))
    return found


def microseconds(number: int) -> Measurement:
    """What a completion costs more, the replay's own work taken off."""

    def spent(times: HoldTimes | None) -> tuple[int, int]:
        started = process_time_ns()
        history, _ = replayed(number, LOADS[0], times)
        return process_time_ns() - started, len(history.outcomes)

    (with_holds, calls), (without, _) = spent(HoldTimes()), spent(None)
    return Measurement("us_hold", max(with_holds - without, 0) / 1e3 / calls, "us")


def main() -> None:
    parser = argparse.ArgumentParser(description="Contexts held while tools are out.")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--quick", action="store_true", help="one load, fewer programs")
    options = parser.parse_args()
    number = QUICK_PROGRAMS if options.quick else NUM_PROGRAMS
    measurements = measured(number, LOADS[:1] if options.quick else LOADS)
    measurements.append(microseconds(number))
    if options.json:
        print_json(measurements)
    else:
        print_table("Holds", measurements)


if __name__ == "__main__":
    main()
