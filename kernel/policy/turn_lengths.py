"""How long will this turn hold a slot? A fading mean of late turns like it, learned online.

Alike are turns of the same handler of the same class; where there were none, those of the class,
else all. Of a handler whose turns differ much the mean says little: then shortest-first orders its
turns among each other as they come, which costs nothing.

What it is not: the length predictor of LLM calls (kernel/policy/length_predictor.py), which knows
more of a call than there is to know of a message, and costs more than a turn may.

Promises: the same turns in the same order give the same guesses. Memory is bounded: MAX_HANDLERS,
least recently used leave first.
Cost: two dictionary look-ups a guess, four a lesson.
"""

from __future__ import annotations

from collections import OrderedDict

FADE = 0.2  # weight of the latest turn
FIRST_GUESS = 1_000.0  # tokens, before any turn has ended
MAX_HANDLERS = 10_000

Alike = tuple[str, str]  # class and handler; "" for all


class TurnLengths:
    """See the module head."""

    __slots__ = ("_all", "_means")

    def __init__(self) -> None:
        self._all = FIRST_GUESS
        self._means: OrderedDict[Alike, float] = OrderedDict()

    def guess(self, alike: Alike) -> float:
        """Return how many tokens a turn will be given, at least 1."""
        mean = self._means.get(alike)
        if mean is None:
            mean = self._means.get((alike[0], ""), self._all)
        return max(1.0, mean)

    def learn(self, alike: Alike, tokens: int) -> None:
        """Take in how many tokens a turn was given in all."""
        self._all += FADE * (tokens - self._all)
        for key in (alike, (alike[0], "")):
            before = self._means.pop(key, None)
            self._means[key] = tokens if before is None else before + FADE * (tokens - before)
        while len(self._means) > MAX_HANDLERS:
            self._means.popitem(last=False)
