"""What the journal holds of unfinished requests: their prompt, and the tokens emitted so far.

    llm_request   request           (blob)  what a new kernel needs to go on: see ``Saved``
    llm_tokens    (request, start)  (blob)  emitted tokens from ``start`` on, with their texts,
                                            and the last step row that they make superfluous
    llm_step      step number       (blob)  one step's tokens of all streamed requests

A streamed request's token is in a step row before its text is shown; one row a step serves all
streams. Now and then a request's tokens move to a row of its own, and a step row that
no request needs is deleted, so the file stays in proportion to what runs. Tokens of requests
that are not streamed are only folded.

Cost: one row a step while anything streams; one row a request every 64 tokens or fewer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgpack
import numpy as np
import numpy.typing as npt

from kernel.records import Snapshot, WriteSet

Ids = npt.NDArray[np.int32]


@dataclass(slots=True)
class Saved:
    """A request as the journal has it. texts: of each emitted token, of streamed requests."""

    facts: dict[str, Any]
    emitted: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Track:
    """Where a request's tokens are in the journal."""

    folded: int = 0  # tokens in rows of its own
    starts: list[int] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)  # step rows that hold tokens not folded
    texts: list[str] = field(default_factory=list)  # of the tokens not folded
    last_step: int = 0  # step rows up to here hold nothing more of it


class TokenLog:
    """See the module head. changes: the write set of the present loop turn."""

    def __init__(self, changes: Callable[[], WriteSet], new_id: Callable[[], int]) -> None:
        self._changes = changes
        self._new_id = new_id
        self._tracks: dict[int, _Track] = {}
        self._needed: dict[int, int] = {}  # step row -> how many requests need it

    def open(self, request: int, facts: dict[str, Any]) -> None:
        """Journal an accepted request: all that is needed to compute it anywhere."""
        self._tracks[request] = _Track()
        self._changes().put_new("llm_request", request, (msgpack.packb(facts),))

    def amend(self, request: int, facts: dict[str, Any]) -> None:
        """Journal what has changed of a request."""
        self._changes().put("llm_request", request, (msgpack.packb(facts),))

    def step(self, requests: Sequence[int], tokens: Sequence[int], texts: Sequence[str]) -> None:
        """Journal one token of each of these streamed requests."""
        number = self._new_id()
        row = [np.array(requests, np.uint64).tobytes(), np.array(tokens, np.int32).tobytes(), texts]
        self._changes().put_new("llm_step", number, (msgpack.packb(row),))
        self._needed[number] = len(requests)
        for request, text in zip(requests, texts, strict=True):
            track = self._tracks[request]
            track.steps.append(number)
            track.texts.append(text)

    def num_loose(self, request: int, num_emitted: int) -> int:
        """Return how many of a request's tokens have no row of its own."""
        return num_emitted - self._tracks[request].folded

    def num_folded(self, request: int) -> int:
        """Return how many of a request's tokens have rows of its own."""
        return self._tracks[request].folded

    def fold(self, request: int, emitted: Ids) -> None:
        """Put a request's tokens that have no row of its own into one. emitted: all of them."""
        track = self._tracks[request]
        if len(emitted) == track.folded:
            return
        track.last_step = track.steps[-1] if track.steps else track.last_step
        row = [emitted[track.folded :].tobytes(), track.texts, track.last_step]
        self._changes().put_new("llm_tokens", (request, track.folded), (msgpack.packb(row),))
        track.starts.append(track.folded)
        track.folded = len(emitted)
        track.texts = []
        self._release(track)

    def close(self, request: int) -> None:
        """Forget a request that has ended."""
        track = self._tracks.pop(request, None)
        if track is None:
            return
        changes = self._changes()
        changes.delete("llm_request", request)
        for start in track.starts:
            changes.delete("llm_tokens", (request, start))
        self._release(track)

    def _release(self, track: _Track) -> None:
        for number in track.steps:
            self._needed[number] -= 1
            if not self._needed[number]:
                del self._needed[number]
                self._changes().delete("llm_step", number)
        track.steps = []

    def load(self, rows: Snapshot) -> dict[int, Saved]:
        """Take what the journal has; return the unfinished requests."""
        found: dict[int, Saved] = {}
        for request, (blob,) in rows.get("llm_request", {}).items():
            found[request] = Saved(msgpack.unpackb(blob))
            self._tracks[request] = _Track()
        for (request, start), (blob,) in sorted(rows.get("llm_tokens", {}).items()):
            tokens, texts, last_step = msgpack.unpackb(blob)
            saved, track = found[request], self._tracks[request]
            saved.emitted += np.frombuffer(tokens, np.int32).tolist()
            saved.texts += texts
            track.starts.append(start)
            track.folded, track.last_step = len(saved.emitted), last_step
        for number, (blob,) in sorted(rows.get("llm_step", {}).items()):
            self._load_step(number, msgpack.unpackb(blob), found)
        return found

    def _load_step(self, number: int, row: list[Any], found: dict[int, Saved]) -> None:
        requests = np.frombuffer(row[0], np.uint64).tolist()
        tokens = np.frombuffer(row[1], np.int32).tolist()
        needed = 0
        for request, token, text in zip(requests, tokens, row[2], strict=True):
            track = self._tracks.get(request)
            if track is None or number <= track.last_step:
                continue
            found[request].emitted.append(token)
            found[request].texts.append(text)
            track.steps.append(number)
            track.texts.append(text)
            needed += 1
        if needed:
            self._needed[number] = needed
        else:
            self._changes().delete("llm_step", number)
