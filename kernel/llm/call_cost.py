"""What a completion takes of a budget, as a sum so far: calls, tokens, money, KV blocks.

Sums, not steps: what was charged for some tokens and then for more telescopes to the charge for all
of them, to the last millionth of money, whatever the slices were.

A call to an endpoint is bounded before it is made. Only the endpoint can count its prompt, so the
bound is one token for each byte of text, which no tokeniser exceeds, and an allowance for what a
chat template adds. What an endpoint counts beyond that (pictures, long templates) is overrun.

Cost: a few additions; the bound of a remote call is linear in its text. Pure.
"""

from __future__ import annotations

from typing import Any

from ipc.llm import LlmInput, ModelSpec
from kernel.llm.prompt_estimate import TOKENS_PER_IMAGE

Amounts = dict[str, int]

PER_MESSAGE = 32  # tokens that a template puts around a message, or before the answer
_MILLION = 1_000_000


def local_cost(spec: ModelSpec, block_size: int, prompt: int, completion: int) -> Amounts:
    """Return what a completion has taken when it has so many tokens. Blocks: held, not spent."""
    blocks = -(-(prompt + completion) // block_size) if block_size else 0
    return {**spent(spec, prompt, completion), "kv_blocks": blocks}


def spent(spec: ModelSpec, prompt: int, completion: int) -> Amounts:
    """Return what a completion with these tokens costs for good."""
    price = prompt * spec.get("price_in", 0) + completion * spec.get("price_out", 0)
    return {"llm_calls": 1, "tokens": prompt + completion, "money": -(-price // _MILLION)}


def remote_bound(spec: ModelSpec, given: LlmInput, max_tokens: int) -> Amounts:
    """Return the most that a call to an endpoint may come to."""
    return spent(spec, prompt_bound(given), max_tokens)


def prompt_bound(given: LlmInput) -> int:
    """Return how many tokens an input may have at most, as far as its text goes."""
    messages = given.get("messages", [])
    text = _bytes_of(given.get("prompt", "")) + _bytes_of(given.get("tools", []))
    return text + sum(map(_of_message, messages)) + PER_MESSAGE


def _of_message(message: dict[str, Any]) -> int:
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    images = [part for part in parts if isinstance(part, dict) and part.get("type") != "text"]
    rest = {key: value for key, value in message.items() if key != "content"}
    said: Any = [part for part in parts if part not in images] if parts else content
    return _bytes_of(rest) + _bytes_of(said) + len(images) * TOKENS_PER_IMAGE + PER_MESSAGE


def _bytes_of(value: Any) -> int:
    """Return the bytes of a value's text as it would stand in JSON, roughly and not less."""
    if isinstance(value, dict):
        return sum(len(str(key).encode()) + 6 + _bytes_of(item) for key, item in value.items())
    if isinstance(value, list):
        return sum(2 + _bytes_of(item) for item in value)
    return 0 if value is None else len(str(value).encode("utf-8", "replace"))
