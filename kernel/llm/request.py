"""One completion to be computed: its tokens, its wishes and its account.

What it is not: where it stands in a scheduler (kernel/llm/task.py). A request outlives engines:
when one dies, the same object is added to the scheduler of the next and goes on from its tokens.

Its tokens, and what a scheduler counts of them, are in ext/request_tokens.pyx.
"""

from __future__ import annotations

from numpy.typing import ArrayLike

from ext.request_tokens import RequestTokens
from ipc.llm import Sampling
from ipc.protocol import DEFAULT_PRIORITY

NO_LIMIT = 1 << 40  # tokens


class Request(RequestTokens):
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
        "arrival_ns",
        "cached_tokens",
        "call_site",
        "deadline_ns",
        "extra_key",
        "family",
        "first_planned_ns",
        "first_token_ns",
        "has_tools",
        "is_complete",
        "owner",
        "parents",
        "preemptions",
        "priority",
        "program",
        "sampling",
        "sent_chars",
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
        super().__init__(ids)
        self.id = id
        self.owner = owner
        if num_prompt is not None:
            self.num_prompt = num_prompt
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
