"""How many tokens will this call generate? Learned online, from the calls that have ended.

Three things are asked, and mixed as one weighted sample of lengths (kernel/policy/estimate.py):
  alike    the NEIGHBOURS calls whose prompts were about as long: of the same call site if it
           has ENOUGH, else of all sites too; the nearer and the newer the more, those of exactly
           this length most (kernel/policy/neighbours.py). Together they weigh ALIKE_WEIGHT.
  program  the last RECENT outputs of the same program (a conversation, an agent's run), weighing 1
           and FADE times less for each step back.
  error    per amount of the program's history, where to read quantiles so that they cover what
           they say, and whether guessing helps at all.
Calls are ordered by the mean of all, but the squared mean of square roots stands for what is
alike: one call far longer than the rest says little of the next one.

Promises:
  L1  the same calls in the same order give the same guesses; no clock, no randomness.
  L2  memory is bounded: MAX_PROGRAMS and MAX_SITES, least recently used leave first.
  L3  where guesses have lately ordered pairs of calls worse than a coin, every guess is the mean
      of late, so that shortest-first on it is first-come-first-served.
  L4  a snapshot is JSON and restores a predictor that guesses the same.
Cost: O(NEIGHBOURS) a guess, O(calls kept) pointers moved a lesson; `us_predict` and `us_learn` of
bench/predictor.py. At most about 25 MB, most of it the sites'.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from operator import mul
from typing import Any

from kernel.policy.calibration import LEVELS, Accuracy, Coverage, Report
from kernel.policy.estimate import Estimate, mixed, sample_quantile
from kernel.policy.neighbours import Neighbours

NEIGHBOURS = 192
ALL_CALLS = {"per_octave": 4, "limit": 512}  # of all sites; 36,000 at most, 5 MB
ENOUGH = 32  # calls of a site that need no others beside them
SITE_CALLS = {"per_octave": 1, "limit": 64}
MAX_SITES = 128
MAX_PROGRAMS = 16_384
RECENT = 8  # outputs of one program
FADE = 0.7
ALIKE_WEIGHT = 0.5
SAME_WEIGHT = 50.0  # of all new calls with exactly this prompt length, beside one near to it
FIRST_GUESS = 256  # tokens, before anything has ended
TRUSTED_AFTER = 200  # calls, before which L3 is not judged
NUM_HISTORIES = 4  # none, 1, 2 to 3, 4 or more outputs of the program


@dataclass(frozen=True, slots=True)
class CallFeatures:
    """What is known of a call when it comes."""

    program: str
    call_site: str  # where in the program's code the call is made; "" where that is not known
    prompt_tokens: int
    max_tokens: int | None = None  # no guess is above it


class LengthPredictor:
    """See the module head."""

    __slots__ = ("_accuracy", "_all", "_come", "_coverage", "_programs", "_sites")

    def __init__(self) -> None:
        self._come = 0  # calls that a guess was asked for
        self._all = Neighbours(**ALL_CALLS)
        self._sites: OrderedDict[str, Neighbours] = OrderedDict()
        self._programs: OrderedDict[str, deque[int]] = OrderedDict()
        self._coverage = [Coverage() for _ in range(NUM_HISTORIES)]
        self._accuracy = Accuracy()

    def predict(self, call: CallFeatures) -> Estimate:
        """Return a guess for a call that has come. What was learned is older by one call then."""
        self._come += 1
        alike = self._alike(call)
        newest = sum([weight for _, weight in alike]) / ALIKE_WEIGHT
        recent = self._programs.get(call.program, ())
        own = [(length, newest * FADE**age) for age, length in enumerate(reversed(recent))]
        most = call.max_tokens
        if most is not None:
            own = [(min(length, most), weight) for length, weight in own]
            alike = [(min(length, most), weight) for length, weight in alike]
        lengths, cumulative, mean = mixed(own + alike)
        history = history_class(len(own))
        quantiles = tuple(
            (level, sample_quantile(lengths, cumulative, at))
            for level, at in zip(LEVELS, self._coverage[history].read_at, strict=True)
        )
        key = guess = damped(own, alike)
        if not self.is_trusted:
            key = min(self._accuracy.mean_tokens, most or math.inf)  # L3
        return Estimate(key, guess, mean, lengths, cumulative, quantiles, history)

    def _alike(self, call: CallFeatures) -> list[tuple[int, float]]:
        """Return outputs of calls with prompts about as long, of this site first, weighted."""
        # Where the site has few calls the rest comes from all sites; its own then count twice.
        site, prompt = self._sites.get(call.call_site), call.prompt_tokens
        found = site.nearest(prompt, NEIGHBOURS, SAME_WEIGHT, self._come) if site else []
        if len(found) < ENOUGH:
            found += self._all.nearest(prompt, NEIGHBOURS - len(found), SAME_WEIGHT, self._come)
        return found or [(FIRST_GUESS, 1.0)]

    @property
    def is_trusted(self) -> bool:
        """Say whether guesses have been better than a constant (L3)."""
        return self._accuracy.num_calls < TRUSTED_AFTER or self._accuracy.skill() > 0

    @property
    def num_learned(self) -> int:
        """Return how many calls it has learned from."""
        return self._accuracy.num_calls

    def learn(self, call: CallFeatures, output_tokens: int, estimate: Estimate) -> None:
        """Take in how a call ended. estimate: the one that was given for it."""
        self._accuracy.learn(estimate.guess, estimate.mean, estimate.quantiles, output_tokens)
        self._coverage[estimate.history].learn(estimate.quantiles, output_tokens)
        self._all.add(call.prompt_tokens, output_tokens, self._come)
        if call.call_site:
            self._site(call.call_site).add(call.prompt_tokens, output_tokens, self._come)
        self._program(call.program).append(output_tokens)

    def _site(self, name: str) -> Neighbours:
        site = self._sites.pop(name, None) or Neighbours(**SITE_CALLS)
        self._sites[name] = site
        if len(self._sites) > MAX_SITES:
            self._sites.popitem(last=False)  # L2
        return site

    def _program(self, name: str) -> deque[int]:
        recent = self._programs.pop(name, None) or deque(maxlen=RECENT)
        self._programs[name] = recent
        if len(self._programs) > MAX_PROGRAMS:
            self._programs.popitem(last=False)  # L2
        return recent

    def forget_program(self, name: str) -> None:
        """Drop what is known of a program that has ended."""
        self._programs.pop(name, None)

    def report(self) -> Report:
        """Return how good the guesses of late have been."""
        return self._accuracy.report()

    def snapshot(self) -> dict[str, Any]:
        """Return all that is known, as JSON values (L4)."""
        return {
            "come": self._come,
            "all": self._all.snapshot(),
            "sites": [[name, site.snapshot()] for name, site in self._sites.items()],
            "programs": [[name, list(recent)] for name, recent in self._programs.items()],
            "read_at": [coverage.read_at for coverage in self._coverage],
            "accuracy": self._accuracy.snapshot(),
        }

    @classmethod
    def restored(cls, snapshot: dict[str, Any]) -> LengthPredictor:
        """Return the predictor that a snapshot describes."""
        fresh = cls()
        fresh._come = snapshot["come"]
        fresh._all.restore(snapshot["all"])
        for name, calls in snapshot["sites"]:
            fresh._site(name).restore(calls)
        for name, recent in snapshot["programs"]:
            fresh._programs[name] = deque(recent, maxlen=RECENT)
        fresh._coverage = [Coverage(list(read_at)) for read_at in snapshot["read_at"]]
        fresh._accuracy.restore(snapshot["accuracy"])
        return fresh


def damped(own: Sequence[tuple[int, float]], alike: Sequence[tuple[int, float]]) -> float:
    """Return the mean of both, weighted; for `alike` stands the squared mean of square roots."""
    lengths, weights = zip(*alike, strict=True)
    total = sum(weights)
    root = sum(map(mul, map(math.sqrt, lengths), weights)) / total
    tokens: float = total * root * root + sum([length * weight for length, weight in own])
    weight: float = total + sum([weight for _, weight in own])
    return tokens / weight


def history_class(num_outputs: int) -> int:
    """Return 0 for no output of the program so far, 1 for one, 2 for two or three, 3 for more."""
    return min(num_outputs.bit_length(), NUM_HISTORIES - 1)
