"""One completion to be computed: its tokens, its wishes and its account.

What it is not: where it stands in a scheduler (kernel/llm/task.py). A request outlives engines:
when one dies, the same object is added to the scheduler of the next and goes on from its tokens.

While it runs, its newest tokens and the time of the last one stand in its scheduler's rows
(ext/slot_rows.pyx); every property here sees through that.
Cost: a token is appended in amortised O(1) (of those in a row, the last 255 at once with a copy of
all before); ``ids`` is a view, not a copy.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ext.slot_rows import SlotRows
from ipc.llm import Sampling
from ipc.protocol import DEFAULT_PRIORITY

NO_LIMIT = 1 << 40  # tokens


class Request:
    """See the module head. Times are of the kernel's clock; 0: not yet, or none.

    sampling: complete: max_tokens and seed are there.
    max_tokens: of the completion; the scheduler lowers it to what its engine can hold.
    allowance: tokens of the completion it may be given for now; ``Scheduler.extend`` raises it.
    family: forks of one session have the same; 0: none. What they share inside a block is copied.
    extra_key: model version and trust domain; only equal ones share cached prefixes.
    sent_chars: of the completion's text, what the kernel knows; kept by the scheduler.
    has_tools: the input declared tools, so the engine looks for calls of them in the text.
    weight: its owner's share, under policies that weigh.
    parents: requests whose results it needed, where that is known.
    is_complete: its engine has ended it; nobody cancelled it, nothing failed.
    """

    __slots__ = (
        "_ids",
        "_last_token_ns",
        "_length",
        "_row",
        "_rows",
        "allowance",
        "arrival_ns",
        "cached_tokens",
        "call_site",
        "deadline_ns",
        "extra_key",
        "family",
        "first_planned_ns",
        "first_token_ns",
        "has_tools",
        "id",
        "is_complete",
        "max_tokens",
        "num_prompt",
        "owner",
        "parents",
        "preemptions",
        "priority",
        "program",
        "sampling",
        "sent_chars",
        "stream",
        "weight",
    )

    def __init__(
        self,
        id: int,  # noqa: A002  # named as the attribute
        owner: int,
        ids: ArrayLike,
        *,
        sampling: Sampling,
        num_prompt: int | None = None,
        stream: bool = False,
        priority: int = DEFAULT_PRIORITY,
        arrival_ns: int = 0,
        deadline_ns: int = 0,
        extra_key: int = 0,
        family: int = 0,
        call_site: str = "",
        program: int = 0,
        sent_chars: int = 0,
        has_tools: bool = False,
        weight: float = 1.0,
        parents: tuple[int, ...] = (),
    ) -> None:
        """ids: prompt, then what was emitted before; num_prompt: how many are the prompt."""
        self._ids: NDArray[np.int32] = np.array(ids, np.int32)
        self._length = len(self._ids)
        self._rows: SlotRows | None = None
        self._row = 0
        self._last_token_ns = 0
        self.id = id
        self.owner = owner
        self.num_prompt = self._length if num_prompt is None else num_prompt
        self.sampling = sampling
        self.max_tokens = sampling["max_tokens"]
        self.allowance = NO_LIMIT
        self.stream = stream
        self.priority = priority
        self.arrival_ns = arrival_ns
        self.deadline_ns = deadline_ns
        self.extra_key = extra_key
        self.family = family
        self.call_site = call_site
        self.program = program
        self.sent_chars = sent_chars
        self.has_tools = has_tools
        self.weight = weight
        self.parents = parents
        self.first_planned_ns = 0
        self.first_token_ns = 0
        self.cached_tokens = 0
        self.preemptions = 0
        self.is_complete = False

    @property
    def ids(self) -> NDArray[np.int32]:
        """Prompt and completion so far; a view that later tokens do not change."""
        if self._rows is not None:
            self._absorb(self._rows)
        ids = self._ids
        return ids if len(ids) == self._length else ids[: self._length]

    @property
    def num_tokens(self) -> int:
        """Prompt and completion so far, counted."""
        return self._length if self._rows is None else self._length + self._rows.count(self._row)

    @property
    def num_emitted(self) -> int:
        """Tokens of the completion so far."""
        emitted = self._length - self.num_prompt
        return emitted if self._rows is None else emitted + self._rows.count(self._row)

    @property
    def emitted(self) -> NDArray[np.int32]:
        """Tokens of the completion so far; a view."""
        return self.ids[self.num_prompt :]

    @property
    def last_token_ns(self) -> int:
        """When the last token came."""
        in_row = 0 if self._rows is None else self._rows.last_token_ns(self._row)
        return in_row or self._last_token_ns

    def append(self, token: int, now_ns: int = 0) -> None:
        """Add one emitted token."""
        self.extend(np.array([token], np.int32))
        self._last_token_ns = now_ns or self._last_token_ns

    def extend(self, tokens: NDArray[np.int32]) -> None:
        """Add emitted tokens."""
        self.empty_row()
        end = self._length + len(tokens)
        if end > len(self._ids):
            grown = np.empty(max(end, 2 * len(self._ids), 64), np.int32)
            grown[: self._length] = self._ids[: self._length]
            self._ids = grown
        self._ids[self._length : end] = tokens
        self._length = end

    def enter_row(self, rows: SlotRows, row: int) -> None:
        """From now on a scheduler puts new tokens into this row, which is empty."""
        if self._rows is not None:
            self.leave_row()
        self._rows = rows
        self._row = row

    def leave_row(self) -> None:
        """Take home what the row has."""
        if self._rows is not None:
            self._take_home(self._rows)
            self._rows = None

    def empty_row(self) -> None:
        """Make room in the row."""
        if self._rows is not None:
            self._absorb(self._rows)

    def _absorb(self, rows: SlotRows) -> None:
        if rows.count(self._row):
            self._take_home(rows)

    def _take_home(self, rows: SlotRows) -> None:
        self._ids, last_token_ns = rows.take(self._row, self._ids, self._length)
        self._length = len(self._ids)
        self._last_token_ns = last_token_ns or self._last_token_ns
