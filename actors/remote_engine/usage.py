"""What an endpoint says a completion took. It is believed within reason, and never made up."""

from __future__ import annotations

from typing import Any

from typing_extensions import TypedDict

from actors.remote_engine.failure import LieError
from actors.remote_engine.fields import as_object, count_of

MAX_TOKENS = 1 << 31  # more is no count of tokens


class RemoteUsage(TypedDict):
    """The part of ipc.llm.Usage that only the endpoint knows."""

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int


def read_usage(value: Any) -> RemoteUsage:
    """Return the usage that an answer holds.

    Raises:
        LieError: a field is missing, negative or contradicts another.
    """
    fields = as_object(value, "usage")
    prompt = count_of(fields, "prompt_tokens", MAX_TOKENS)
    completion = count_of(fields, "completion_tokens", MAX_TOKENS)
    details = as_object(fields.get("prompt_tokens_details") or {}, "prompt_tokens_details")
    cached = 0
    if details.get("cached_tokens") is not None:
        cached = count_of(details, "cached_tokens", MAX_TOKENS)
    if cached > prompt:
        raise LieError("usage has more cached tokens than the prompt has")
    return RemoteUsage(prompt_tokens=prompt, cached_tokens=cached, completion_tokens=completion)
