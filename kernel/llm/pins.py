"""Cached blocks kept for sessions that will go on: pins, with an end.

A pin holds the computed blocks of some tokens for its owner, whole, and counts to its quota. It is
a wish: when a request could otherwise never run, pins yield, the one that ends first before others.
Cost: O(blocks) to make or release one.
"""

from __future__ import annotations

from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from ext.kv_cache import KVCache
from ext.kv_errors import (
    KVExhaustedError,
    RequestTooLongError,
    TooManyRequestsError,
    UnknownPinError,
)
from ipc.errors import LimitError, PromptTooLongError
from kernel.llm.demotion import Demotion
from kernel.llm.owners import OwnerAccount
from kernel.llm.pinning import pin_prefix


class PinBook:
    """The pins of one KV cache, by handle. ended: those that have ended by themselves."""

    __slots__ = ("_cache", "_demotion", "_tokens", "_until_ns", "ended")

    def __init__(self, cache: KVCache, demotion: Demotion) -> None:
        self._cache = cache
        self._demotion = demotion
        self._until_ns: dict[int, int] = {}
        self._tokens: dict[int, int] = {}
        self.ended: list[int] = []

    def __len__(self) -> int:
        return len(self._until_ns)

    def add(
        self, account: OwnerAccount, ids: NDArray[np.int32], *, extra_key: int, until_ns: int
    ) -> int:
        """Keep what is cached of these tokens; what is not computed yet is not kept.

        Raises:
            LimitError: the owner's quota or the pool has no room. Nothing was pinned.
            PromptTooLongError: more tokens than a request may have.
        """
        try:
            pin, num_tokens = pin_prefix(self._cache, account.handle, ids, extra_key, until_ns)
        except RequestTooLongError as error:
            raise PromptTooLongError(
                value=len(ids), limit=error.limit - 1, what="the context"
            ) from error
        except TooManyRequestsError as error:
            raise LimitError(what="pins and requests", value=0, limit=0) from error
        except KVExhaustedError as error:
            raise LimitError(
                what="KV blocks for a pin",
                value=getattr(error, "needed", 0),
                limit=getattr(error, "available", 0),
            ) from error
        self._until_ns[pin], self._tokens[pin] = until_ns, num_tokens
        return pin

    def tokens(self, pin: int) -> int:
        """Return how many tokens a pin holds; 0 if it has ended."""
        return self._tokens.get(pin, 0)

    def remove(self, pin: int) -> None:
        """Release a pin; one that has ended by itself is not there any more, which is fine."""
        if pin in self._until_ns:
            self._forget(pin)
            self._release(pin)

    def expire(self, now_ns: int) -> int:
        """Release the pins whose time has come; returns how many."""
        ended = [pin for pin, until_ns in self._until_ns.items() if until_ns <= now_ns]
        for pin in ended:
            self._end(pin)
        return len(ended)

    def yield_one(self) -> bool:
        """Release the pin that ends first; False: there is none. Its session will go on."""
        if not self._until_ns:
            return False
        pin = min(self._until_ns, key=lambda pin: self._until_ns[pin])
        self._forget(pin)
        self.ended.append(pin)
        with suppress(UnknownPinError):
            self._demotion.let_go(pin)
        return True

    def _forget(self, pin: int) -> None:
        del self._until_ns[pin], self._tokens[pin]

    def _end(self, pin: int) -> None:
        self.remove(pin)
        self.ended.append(pin)

    def _release(self, pin: int) -> None:
        with suppress(UnknownPinError):  # its owner was removed, and the pin with it
            self._cache.unpin(pin)
