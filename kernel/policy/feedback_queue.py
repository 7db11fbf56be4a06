"""Multi-level feedback queue: who asks little is served soon, and nobody has to say who that is.

A job begins at the top level. What it may be given on a level is that level's quantum, in as many
slices as it likes; then it falls one level. A level is served when those above are empty, in the
order in which jobs came to it. At each boost all jobs return to the top, with nothing used.

Bound: a job is on the top level once in each `boost_ns`, behind those who were there before it;
so if the top level's work is done within a boost period, it is served in each.
Source: Arpaci-Dusseau, Operating Systems: Three Easy Pieces, chapter 8 (rules 1 to 5).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ipc.errors import BadPolicyError
from kernel.policy.policy import LEVEL, Job, need_positive

QUANTA_TOKENS = (32, 128, 512, 2048)
BOOST_NS = 10_000_000_000


@dataclass(slots=True)
class Standing:
    """Where a job stands. used: tokens of its level's quantum, since that many boosts."""

    level: int
    place: int
    used: int
    boosts: int


class FeedbackQueue:
    """See the module head. A job's note is its standing."""

    __slots__ = (
        "_boost_ns",
        "_boosts",
        "_last_boost_ns",
        "_last_place",
        "_lower",
        "_quanta_tokens",
    )

    margin = 0.0

    def __init__(
        self, quanta_tokens: tuple[int, ...] = QUANTA_TOKENS, boost_ns: int = BOOST_NS
    ) -> None:
        need_positive("feedback", "boost_ns", boost_ns)
        if not quanta_tokens:
            raise BadPolicyError(
                policy="feedback", what="quanta_tokens", value="()", needs="one a level"
            )
        for quantum_tokens in quanta_tokens:
            need_positive("feedback", "quanta_tokens", quantum_tokens)
        self._quanta_tokens = quanta_tokens
        self._boost_ns = boost_ns
        self._last_boost_ns: int | None = None
        self._last_place = 0
        self._boosts = 0
        self._lower: dict[int, Standing] = {}  # below the top level, by job

    def on_arrival(self, job: Job, now_ns: int) -> None:
        """See ``Policy``."""
        if self._last_boost_ns is None:
            self._last_boost_ns = now_ns
        job.note = Standing(0, self._next_place(), 0, self._boosts)

    def _next_place(self) -> int:
        self._last_place += 1
        return self._last_place

    def key(self, job: Job, now_ns: int) -> float:
        """See ``Policy``."""
        standing: Standing = job.note
        return standing.level * LEVEL + standing.place

    def quantum_tokens(self, job: Job) -> int | None:
        """See ``Policy``."""
        standing: Standing = job.note
        self._forget_if_boosted(standing)
        return self._quanta_tokens[standing.level] - standing.used

    def _forget_if_boosted(self, standing: Standing) -> None:
        """Let one who was on the top level at a boost have used nothing since."""
        if standing.boosts != self._boosts:
            standing.boosts, standing.used = self._boosts, 0

    def on_service(self, job: Job, tokens: int, now_ns: int) -> None:
        """See ``Policy``."""
        standing: Standing = job.note
        self._forget_if_boosted(standing)
        standing.used += tokens
        if standing.used < self._quanta_tokens[standing.level]:
            return
        standing.level = min(standing.level + 1, len(self._quanta_tokens) - 1)
        standing.place = self._next_place()
        standing.used = 0
        if standing.level:
            self._lower[job.id] = standing

    def on_done(self, job: Job, now_ns: int) -> None:
        """See ``Policy``."""
        if self._lower:
            self._lower.pop(job.id, None)

    def rekey(self, now_ns: int) -> Iterable[int]:
        """See ``Policy``. A boost that was missed is made up for once."""
        if self._last_boost_ns is None or now_ns - self._last_boost_ns < self._boost_ns:
            return ()
        self._last_boost_ns = now_ns - (now_ns - self._last_boost_ns) % self._boost_ns
        self._boosts += 1
        # Lower levels join behind those above them, each in its own order.
        lower = sorted([(s.level, s.place, number) for number, s in self._lower.items()])
        for _, _, number in lower:
            standing = self._lower.pop(number)
            standing.level, standing.place = 0, self._next_place()
        return [number for _, _, number in lower]
