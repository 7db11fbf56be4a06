"""Tiny models with random weights, one of each architecture that the tests compare."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import transformers

VOCAB = 160
CONTEXT = 256
_SMALL: dict[str, Any] = {
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": VOCAB,
    "max_position_embeddings": CONTEXT,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_GPT2 = {"n_embd": 48, "n_layer": 2, "n_head": 4, "vocab_size": VOCAB, "n_positions": CONTEXT}
_OPT = {**_SMALL, "ffn_dim": 64, "word_embed_proj_dim": 48, "do_layer_norm_before": True}
_GEMMA = {**_SMALL, "head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 12}

ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", _SMALL),
    "llama_tied": ("Llama", {**_SMALL, "tie_word_embeddings": True, "attention_bias": True}),
    "mistral_sliding": ("Mistral", {**_SMALL, "sliding_window": 10}),
    "qwen2": ("Qwen2", _SMALL),
    "qwen2_sliding": (
        "Qwen2",
        {**_SMALL, "use_sliding_window": True, "sliding_window": 9, "max_window_layers": 1},
    ),
    "qwen3": ("Qwen3", {**_SMALL, "head_dim": 16}),
    "gemma": ("Gemma", {**_SMALL, "head_dim": 16}),
    "gemma2": ("Gemma2", _GEMMA),
    "gemma3": (
        "Gemma3",
        {
            **_GEMMA,
            "layer_types": ["sliding_attention", "full_attention"],
            "tie_word_embeddings": False,
        },
    ),
    "phi": ("Phi", _SMALL),
    "phi3": ("Phi3", {**_SMALL, "sliding_window": None}),
    "olmo2": ("Olmo2", _SMALL),
    "gpt2": ("GPT2", _GPT2),
    "gpt_neox": ("GPTNeoX", _SMALL),
    "opt": ("OPT", _OPT),
    "mixtral": ("Mixtral", {**_SMALL, "num_local_experts": 4, "num_experts_per_tok": 2}),
    "granite": ("Granite", _SMALL),
    "cohere": ("Cohere", {**_SMALL, "logit_scale": 0.5}),
    "gpt_oss": (
        "GptOss",
        {**_SMALL, "head_dim": 16, "num_local_experts": 4, "sliding_window": 12},
    ),
    "stablelm": ("StableLm", {**_SMALL, "hidden_size": 64}),
    "starcoder2": ("Starcoder2", _SMALL),
    "smollm3": ("SmolLM3", _SMALL),
}


def config_of(name: str) -> Any:
    """Return the architecture's configuration, a new one: models change theirs."""
    family, fields = ARCHITECTURES[name]
    if family == "Gemma3":
        return transformers.Gemma3TextConfig(**fields)
    return getattr(transformers, f"{family}Config")(**fields)


@cache
def reference_model(name: str) -> Any:
    """Return the model as the library runs it."""
    torch.manual_seed(7)
    model = transformers.AutoModelForCausalLM.from_config(
        config_of(name), attn_implementation="eager"
    )
    # Random small models repeat a token; here what layers add outweighs what was there.
    random = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name_, parameter in model.named_parameters():
            if parameter.dim() > 1:
                is_table = any(part in name_ for part in ("embed", "wte", "wpe"))
                scale = 0.1 if is_table else 2.0 / parameter.shape[-1] ** 0.5
                parameter.normal_(std=scale, generator=random)
    return model.eval()


def paged_model(name: str) -> Any:
    """Return another model with the same weights."""
    model = transformers.AutoModelForCausalLM.from_config(
        config_of(name), attn_implementation="eager"
    )
    model.load_state_dict(reference_model(name).state_dict())
    return model.eval()


def greedy(name: str, prompt: list[int], num: int) -> list[int]:
    """Return what ``generate`` continues with."""
    ids = torch.tensor([prompt])
    with torch.inference_mode():
        found = reference_model(name).generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=num,
            do_sample=False,
            eos_token_id=None,
        )
    return [int(token) for token in found[0, len(prompt) :]]


def logits_of(name: str, ids: list[int]) -> torch.Tensor:
    """Return the logits of every position."""
    with torch.inference_mode():
        found: torch.Tensor = reference_model(name)(torch.tensor([ids]), use_cache=False).logits[0]
    return found
