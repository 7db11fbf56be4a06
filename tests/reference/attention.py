"""The oracle of ext/paged_attention.pyx: each row by itself, in float64, from unpaged keys."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def attend_row(
    query: Floats,  # (heads, dim)
    keys: Floats,  # (tokens, kv heads, dim), the row's own token is the last
    values: Floats,  # (tokens, kv heads, value dim)
    *,
    scale: float,
    softcap: float = 0.0,
    window: int = 0,
    sinks: Floats | None = None,
) -> Floats:
    """Return (heads, value dim)."""
    heads, group = query.shape[0], query.shape[0] // keys.shape[1]
    seen = slice(max(0, len(keys) - window) if window else 0, len(keys))
    rows = []
    for head in range(heads):
        scores = keys[seen, head // group] @ query[head] * scale
        if softcap:
            scores = softcap * np.tanh(scores / softcap)
        extra = [] if sinks is None else [sinks[head]]
        weights = np.exp([*scores, *extra] - np.max([*scores, *extra]))
        weights /= weights.sum()
        rows.append(weights[: len(scores)] @ values[seen, head // group])
    return np.array(rows)
