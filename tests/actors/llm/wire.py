"""Answers of the kernel, as ipc/llm.py says them."""

from __future__ import annotations

from array import array
from typing import Any


def completion(text: str = "billing", **fields: Any) -> dict[str, Any]:
    """Return a Completion."""
    answer: dict[str, Any] = {
        "text": text,
        "ids": array("i", [7, 8]).tobytes(),
        "finish_reason": "stop",
        "usage": {
            "prompt_tokens": 12,
            "cached_tokens": 4,
            "completion_tokens": 2,
            "waiting_ns": 500_000_000,
            "prefill_ns": 250_000_000,
            "decode_ns": 1_000_000_000,
            "preemptions": 1,
            "model": "small",
            "version": 3,
        },
    }
    return {**answer, **fields}


def session(number: int, tokens: int = 0) -> dict[str, Any]:
    """Return a SessionInfo."""
    return {"session": number, "model": "small", "version": 3, "tokens": tokens}
