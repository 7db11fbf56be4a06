"""What the length predictor is worth: shortest-first on its guesses, beside perfect guesses.

Question: of the mean wait that shortest-job-first on true lengths saves against
first-come-first-served, which share does it save on guesses? Goals: 0.8 on the Azure conversation
trace; on Mooncake's more than on prompt lengths alone; coverage within 0.05 of the stated level;
never above first-come-first-served.
Run: python -m bench.predictor [--azure FILE] [--mooncake FILE] [--json] [--quick]
Without a trace it replays a small generated one: good to see that it runs, not for figures.

The first half of a trace is learned; the second half waits for 1 or 16 slots that serve a request
in a time proportional to its output, at 0.9 of what the slots can do (arrival gaps are scaled, not
reordered). Who has begun is not interrupted, so the share in the wait is that in the completion
time. What ends in the replay is learned when it ends there.
  gain_T_S             share of the saving; floor: of a predictor that sees prompt lengths alone
  gain_frozen_T_S      the same when nothing more is learned in the second half
  gain_bound_T_S       the same with lengths smoothed over the second half's own requests by prompt
                       length: about what any predictor on prompt lengths alone can reach
  wait_T_S             mean wait in mean services; floor: first come first served
  coverage_Q_T         outcomes at or below the Q % quantile, over the second half; floor: Q
  error_T              mean absolute error in tokens; floor: of the first half's mean
  us_predict, us_learn microseconds of processor time a call
"""

from __future__ import annotations

import argparse
import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from time import process_time_ns

from bench.report import Measurement, print_json, print_table
from bench.request_trace import (
    TimedRequest,
    conversation_of,
    generated_requests,
    read_requests,
)
from kernel.policy.calibration import LEVELS
from kernel.policy.estimate import Estimate
from kernel.policy.length_predictor import CallFeatures, LengthPredictor

LOAD = 0.9
SLOTS = (1, 16)
BOUND_SMOOTHING = 25  # requests of the second half averaged; fewer would see the single outcome

Ended = Callable[[int], None]


def replay(
    arrivals: Sequence[float],
    services: Sequence[float],
    key: Callable[[int], float],
    slots: int,
    ended: Ended,
) -> float:
    """Serve the smallest key first and return the mean wait. key: asked once, at arrival."""
    waiting: list[tuple[float, int]] = []
    running: list[tuple[float, int]] = []
    now = waited = 0.0
    come = 0
    while come < len(arrivals) or waiting or running:
        next_arrival = arrivals[come] if come < len(arrivals) else float("inf")
        if running and running[0][0] <= next_arrival:
            now, index = heapq.heappop(running)
            ended(index)
        else:
            now = next_arrival
            heapq.heappush(waiting, (key(come), come))
            come += 1
        while waiting and len(running) < slots:
            _, index = heapq.heappop(waiting)
            waited += now - arrivals[index]
            heapq.heappush(running, (now + services[index], index))
    return waited / len(arrivals)


@dataclass(frozen=True, slots=True)
class Guesses:
    """What a predictor said of the second half, by its place there."""

    mean_wait: float
    estimates: dict[int, Estimate]


class Trial:
    """One trace: its first half to learn, its second half to serve."""

    def __init__(self, name: str, requests: list[TimedRequest]) -> None:
        self.name = name
        half = len(requests) // 2
        self.features = [
            CallFeatures(conversation_of(each, index), "", each.prompt_tokens)
            for index, each in enumerate(requests)
        ]
        self.outputs = [each.output_tokens for each in requests]
        self.half = half
        second = requests[half:]
        self.services = [float(each.output_tokens) for each in second]
        span = second[-1].arrival_s - second[0].arrival_s
        self.scale = sum(self.services) / LOAD / span
        self.since_first = [each.arrival_s - second[0].arrival_s for each in second]

    def arrivals(self, slots: int) -> list[float]:
        """Arrival times at which the slots have LOAD to do; a service is its output tokens."""
        return [at * self.scale / slots for at in self.since_first]

    def wait_by(self, key: Callable[[int], float], slots: int) -> float:
        return replay(self.arrivals(slots), self.services, key, slots, lambda _: None)

    def fcfs(self, slots: int) -> float:
        return self.wait_by(float, slots)

    def perfect(self, slots: int) -> float:
        return self.wait_by(self.services.__getitem__, slots)

    def seen(self, index: int, *, prompt_only: bool) -> CallFeatures:
        call = self.features[index]
        return CallFeatures(f"r{index}", "", call.prompt_tokens) if prompt_only else call

    def learned(self, *, prompt_only: bool = False) -> LengthPredictor:
        """A predictor that has seen the first half."""
        predictor = LengthPredictor()
        for index in range(self.half):
            call = self.seen(index, prompt_only=prompt_only)
            predictor.learn(call, self.outputs[index], predictor.predict(call))
        return predictor

    def guessed(
        self, predictor: LengthPredictor, slots: int, *, prompt_only: bool, goes_on: bool
    ) -> Guesses:
        """Serve the second half, shortest guess first."""
        estimates: dict[int, Estimate] = {}

        def key(place: int) -> float:
            call = self.seen(self.half + place, prompt_only=prompt_only)
            estimates[place] = predictor.predict(call)
            return estimates[place].key

        def ended(place: int) -> None:
            index = self.half + place
            if goes_on:
                call = self.seen(index, prompt_only=prompt_only)
                predictor.learn(call, self.outputs[index], estimates[place])

        wait = replay(self.arrivals(slots), self.services, key, slots, ended)
        return Guesses(wait, estimates)

    def smoothed(self) -> list[float]:
        """The second half's own outputs, averaged over neighbours in prompt length."""
        prompts = [call.prompt_tokens for call in self.features[self.half :]]
        order = sorted(range(len(prompts)), key=prompts.__getitem__)
        found = [0.0] * len(order)
        for place, index in enumerate(order):
            first = max(0, min(place - BOUND_SMOOTHING // 2, len(order) - BOUND_SMOOTHING))
            window = order[first : first + BOUND_SMOOTHING]
            found[index] = fmean(self.services[other] for other in window)
        return found


def gains(trial: Trial, slots: int) -> tuple[list[Measurement], Guesses]:
    """Every figure of one trace and number of slots, and the guesses it was made with."""
    fcfs, perfect = trial.fcfs(slots), trial.perfect(slots)

    def share(wait: float) -> float:
        return (fcfs - wait) / (fcfs - perfect)

    def served(*, prompt_only: bool, goes_on: bool) -> Guesses:
        predictor = trial.learned(prompt_only=prompt_only)
        return trial.guessed(predictor, slots, prompt_only=prompt_only, goes_on=goes_on)

    ours = served(prompt_only=False, goes_on=True)
    prompt = served(prompt_only=True, goes_on=True)
    frozen = served(prompt_only=False, goes_on=False)
    bound = trial.wait_by(trial.smoothed().__getitem__, slots)
    label, mean = f"{trial.name}_{slots}", fmean(trial.services)
    return [
        Measurement(f"gain_{label}", share(ours.mean_wait), "share", share(prompt.mean_wait)),
        Measurement(f"gain_frozen_{label}", share(frozen.mean_wait), "share"),
        Measurement(f"gain_bound_{label}", share(bound), "share"),
        Measurement(f"wait_{label}", ours.mean_wait / mean, "services", fcfs / mean),
    ], ours


def truth(trial: Trial, guesses: Guesses) -> list[Measurement]:
    """Coverage of the quantiles and error of the mean over the second half."""
    actual = trial.outputs[trial.half :]
    found = []
    for index, level in enumerate(LEVELS):
        below = [actual[place] <= e.quantiles[index][1] for place, e in guesses.estimates.items()]
        name = f"coverage_{level * 100:g}_{trial.name}"
        found.append(Measurement(name, fmean(below), "share", level))
    error = fmean(abs(actual[place] - e.mean) for place, e in guesses.estimates.items())
    constant = fmean(trial.outputs[: trial.half])
    plain = fmean(abs(tokens - constant) for tokens in actual)
    return [*found, Measurement(f"error_{trial.name}", error, "tokens", plain)]


def costs(trial: Trial) -> list[Measurement]:
    """Microseconds of a guess and of a lesson, with the windows full."""
    predictor = trial.learned()
    started = process_time_ns()
    estimates = [predictor.predict(call) for call in trial.features]
    between = process_time_ns()
    for call, output, estimate in zip(trial.features, trial.outputs, estimates, strict=True):
        predictor.learn(call, output, estimate)
    ended = process_time_ns()
    number = 1e3 * len(estimates)
    return [
        Measurement("us_predict", (between - started) / number, "us"),
        Measurement("us_learn", (ended - between) / number, "us"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="What the length predictor is worth.")
    parser.add_argument("--azure", type=Path, help="Azure's CSV, plain or gzipped")
    parser.add_argument("--mooncake", type=Path, help="Mooncake's JSON lines, plain or gzipped")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--quick", action="store_true", help="one slot only")
    options = parser.parse_args()
    files = {"azure": options.azure, "mooncake": options.mooncake}
    trials = [Trial(name, read_requests(path)) for name, path in files.items() if path]
    trials = trials or [Trial("generated", generated_requests())]
    measurements: list[Measurement] = []
    for trial in trials:
        for slots in SLOTS[:1] if options.quick else SLOTS:
            found, guesses = gains(trial, slots)
            measurements += found
        measurements += truth(trial, guesses)
    measurements += costs(trials[-1])
    if options.json:
        print_json(measurements)
    else:
        print_table("Length predictor", measurements)


if __name__ == "__main__":
    main()
