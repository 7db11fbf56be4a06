"""What the KV-cache tests share: small caches, token arrays, and everything a caller can see."""

from __future__ import annotations

from dataclasses import astuple
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ext.kv_cache import KVCache

KEY = b"sixteen bytes..."


def new_cache(**changes: Any) -> KVCache:
    """Four tokens a block, 16 device blocks, 8 host blocks."""
    settings: dict[str, Any] = {
        "block_size": 4,
        "num_device_blocks": 16,
        "num_host_blocks": 8,
        "max_requests": 8,
        "max_tokens_per_request": 64,
        "hash_key": KEY,
    }
    return KVCache(**(settings | changes))


def ids(*values: int) -> NDArray[np.int32]:
    return np.array(values, np.int32)


def handles(*values: int) -> NDArray[np.int64]:
    return np.array(values, np.int64)


def prompt(num_tokens: int, seed: int = 0) -> NDArray[np.int32]:
    return np.arange(seed * 1000, seed * 1000 + num_tokens, dtype=np.int32)


def computed(cache: KVCache, owner: int, tokens: NDArray[np.int32], **options: int) -> int:
    """A request whose known tokens are all computed."""
    request = cache.open(owner, tokens, **options)
    _, num_tokens = cache.plan(request, len(tokens))
    cache.mark_computed(request, num_tokens)
    return request


def visible_state(cache: KVCache, requests: list[int]) -> list[Any]:
    """Everything a caller can see, to compare before and after a refused call."""
    cache.check_integrity()
    return [
        astuple(cache.statistics()),
        cache.equal_shares(0),
        cache.equal_shares(1),
        [
            (
                cache.state(request),
                cache.block_table(request).tolist(),
                cache.tokens(request).tolist(),
                cache.lookup(request),
            )
            for request in requests
        ],
    ]
