"""Will there be room for all who run, until they end, if one more comes in?

Requests grow by a token a step and give their blocks back when they end. If each ends when it is
expected to, what all hold is most at the moment before one of them ends: this looks at each of
those moments. A pure function of arrays; who expects what is kernel/llm/growth.py's matter.

Cost: one sort of as many numbers as requests run.
Source: the peak over ends is that of Gong et al., Past-Future Scheduler for LLM Serving under SLA
Guarantees, 2025; ours takes quantiles that are calibrated instead of draws.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def peak_growth(left: Ints, own: Ints) -> int:
    """Return the tokens by which what all hold will at most exceed what they hold now.

    left: tokens that each still has to come.  own: tokens it holds now and gives back at its end;
    what it shares with others is not among them.
    """
    if not len(left):
        return 0
    order = np.argsort(left, kind="stable")[::-1]
    lasting, given = left[order], own[order]
    # When the i-th of those that last longest ends, i + 1 have grown as long as it, and those
    # after it have gone with all they had.
    growth = lasting * np.arange(1, len(order) + 1) - (given.sum() - np.cumsum(given))
    return max(0, int(growth.max()))
