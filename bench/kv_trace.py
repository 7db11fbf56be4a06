"""Request traces for the KV-cache bench: reading, tokens to match, and the floor's file.

A trace line has an input length and one content id per 512 tokens; equal ids mean equal content
with an equal prefix. Only ids that cover a whole 512-token block say what could be shared, so a
replay with smaller blocks publishes those parts only: both block sizes answer the same question.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

TOKENS_PER_ID = 512


@dataclass(frozen=True, slots=True)
class TracedRequest:
    """One request of a trace."""

    input_tokens: int
    ids: NDArray[np.int32]

    @property
    def shareable_tokens(self) -> int:
        """Tokens that whole 512-token blocks cover."""
        return self.input_tokens // TOKENS_PER_ID * TOKENS_PER_ID

    def tokens(self) -> NDArray[np.int32]:
        """Synthetic token ids: equal where, and only where, the content ids are equal."""
        positions = np.arange(TOKENS_PER_ID, dtype=np.int32)
        expanded = self.ids[:, None] * np.int32(TOKENS_PER_ID) + positions
        return np.ascontiguousarray(expanded.ravel()[: self.input_tokens])


def read_trace(path: Path) -> list[TracedRequest]:
    """Read a JSON-lines trace, plain or gzipped.

    Raises:
        ValueError: a line whose ids do not cover its input length, or ids too large for int32.
    """
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    return [parse_line(number, line) for number, line in enumerate(data.splitlines(), 1) if line]


def parse_line(number: int, line: bytes) -> TracedRequest:
    fields = json.loads(line)
    tokens, ids = int(fields["input_length"]), fields["hash_ids"]
    if tokens < 1 or len(ids) != -(-tokens // TOKENS_PER_ID):
        raise ValueError(f"line {number}: {len(ids)} content ids for {tokens} tokens")
    if not all(0 <= i < 2**31 // TOKENS_PER_ID for i in ids):
        raise ValueError(f"line {number}: a content id does not fit")
    return TracedRequest(tokens, np.array(ids, np.int32))


def generate_trace(conversations: int = 200, turns: int = 8) -> list[TracedRequest]:
    """Return conversations that take turns, each turn one 512-token block longer and a bit."""
    requests = []
    for turn in range(1, turns + 1):
        for conversation in range(conversations):
            first = conversation * turns
            tail = conversations * turns + first + turn  # the partial block of this turn only
            ids = np.array([*range(first, first + turn), tail], np.int32)
            requests.append(TracedRequest(turn * TOKENS_PER_ID + 100, ids))
    return requests


def write_floor_file(requests: list[TracedRequest], path: Path) -> None:
    """Write what bench/floors/kv_cache.cpp reads."""
    parts = [np.array([len(requests)], np.int32)]
    for request in requests:
        whole = request.ids[: request.input_tokens // TOKENS_PER_ID]
        parts.append(np.array([request.input_tokens, len(whole)], np.int32))
        parts.append(whole)
    np.concatenate(parts).tofile(path)
