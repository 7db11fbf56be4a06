"""The requests and the random models that the LLM benches give to ours and to every peer.

64 requests with prompts of 32 to 512 and outputs of 16 to 128 tokens, and Llamas of 5M and 100M
parameters in fp32. The same seed gives the same of both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

REQUESTS = 64
STEP_TOKENS = 512
CONTEXT = 640  # tokens of the longest request
MODELS = {
    "small": {
        "hidden_size": 256,
        "intermediate_size": 704,
        "num_hidden_layers": 6,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "vocab_size": 4096,
    },
    "medium": {
        "hidden_size": 768,
        "intermediate_size": 2048,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "num_key_value_heads": 4,
        "vocab_size": 16384,
    },
}


@dataclass(frozen=True, slots=True)
class Work:
    """One request."""

    ids: list[int]
    output: int


def workload(vocab: int, draw: int = 0) -> list[Work]:
    """Return requests of the same lengths for everybody.

    draw: which prompts; an engine that keeps a cache must be given others each time.
    """
    random, ids = np.random.default_rng(5), np.random.default_rng((5, draw))
    prompts, outputs = random.integers(32, 513, REQUESTS), random.integers(16, 129, REQUESTS)
    return [
        Work(ids.integers(3, vocab, length).tolist(), int(output))
        for length, output in zip(prompts.tolist(), outputs.tolist(), strict=True)
    ]


def make_model(size: str, attention: str) -> Any:
    """Return the random model."""
    import torch  # heavy, and only of use in the measuring process
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(**MODELS[size], max_position_embeddings=1024, tie_word_embeddings=True)
    config._attn_implementation = attention
    return LlamaForCausalLM(config).eval()
