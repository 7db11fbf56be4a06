"""Multi-level feedback queue: who asks little is served soon, and nobody has to say who that is.

A job begins at the top level. What it may be given on a level is that level's quantum, in as many
slices as it likes; then it falls one level. A level is served when those above are empty, in the
order in which jobs came to it. At each boost all jobs return to the top, with nothing used.

Bound: a job is on the top level once in each `boost_ns`, behind those who were there before it;
so if the top level's work is done within a boost period, it is served in each.
What every decision asks, levels and quanta, is in ext/feedback_levels.pyx.
Source: Arpaci-Dusseau, Operating Systems: Three Easy Pieces, chapter 8 (rules 1 to 5).
"""

from __future__ import annotations

from ext.feedback_levels import FeedbackLevels
from ipc.errors import BadPolicyError
from kernel.policy.policy import need_positive

QUANTA_TOKENS = (32, 128, 512, 2048)
BOOST_NS = 10_000_000_000


class FeedbackQueue(FeedbackLevels):
    """See the module head."""

    __slots__ = ()

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
        super().__init__(quanta_tokens, boost_ns)
