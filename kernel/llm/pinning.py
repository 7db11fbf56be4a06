"""How a pin of the KV cache is made of what is cached of some tokens.

Mechanism only: who wants one, and until when, is kernel/llm/pins.py, holds.py and demotion.py.
Cost: O(blocks), and a request of the cache for the moment.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ext.kv_cache import KVCache


def pin_prefix(
    cache: KVCache, owner: int, ids: NDArray[np.int32], extra_key: int, until_ns: int | None
) -> tuple[int, int]:
    """Pin what is cached of these tokens for an owner of the cache.

    Returns: the pin, and how many tokens it holds.
    Raises:
        KVExhaustedError: no room for the owner, or for one more request. Nothing was pinned.
        RequestTooLongError: more tokens than a request may have.
    """
    # A lookup leaves the last token to be computed; one more lets the last block be found.
    tokens = np.append(ids, np.int32(0)).astype(np.int32)
    request = cache.open(owner, tokens, extra_key=extra_key)
    try:
        num_tokens = cache.lookup(request).cached_tokens
        if num_tokens:
            cache.plan(request, 1)
        return cache.pin(request, until_ns=until_ns), num_tokens
    finally:
        cache.free(request)
