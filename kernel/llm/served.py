"""What each version of a model has served: completions and their tokens, counted over all kernels.

A completion is counted in the loop turn that answers it, in the same write set as the answer: so
whatever dies, each answer is counted once, and none that nobody got. The counters of
`llmos statistics` begin anew with each kernel; this book does not.

Leaf. Journaled in the table ``llm_served``: (name, version) -> msgpack of the four numbers.
Cost: one row a loop turn for each version of which a completion ended in it.
"""

from __future__ import annotations

import msgpack

from ipc.llm import Served, Usage
from kernel.records import Snapshot, WriteSet

Key = tuple[str, int]  # name, version


class ServedBook:
    """See the module head."""

    def __init__(self) -> None:
        self._served: dict[Key, Served] = {}

    def load(self, rows: Snapshot) -> None:
        """Take what earlier kernels have counted."""
        for key, (blob,) in rows.get("llm_served", {}).items():
            self._served[key] = _served(*msgpack.unpackb(blob))

    def add(self, usage: Usage, changes: WriteSet) -> None:
        """Count a completion that is answered now."""
        key = usage["model"], usage["version"]
        served = self._served.setdefault(key, _served())
        served["completions"] += 1
        served["prompt_tokens"] += usage["prompt_tokens"]
        served["cached_tokens"] += usage["cached_tokens"]
        served["completion_tokens"] += usage["completion_tokens"]
        changes.put("llm_served", key, (msgpack.packb(list(served.values())),))

    def of(self, name: str, version: int) -> Served:
        """Return what a version has served."""
        return self._served.get((name, version), _served()).copy()


def _served(completions: int = 0, prompt: int = 0, cached: int = 0, written: int = 0) -> Served:
    return Served(
        completions=completions,
        prompt_tokens=prompt,
        cached_tokens=cached,
        completion_tokens=written,
    )
