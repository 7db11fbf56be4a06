"""The training loop: Muon for the matrices, AdamW for the rest, bf16 steps, fp32 weights.

What is learnt is fixed by ``Settings``; given the same settings and the same torch build a run
gives the same model up to rounding. A checkpoint holds all that is needed to go on.

The workers are processes of one thread each that average their gradients (on a machine shared with
others two threads of one process mostly wait for each other: 0.7 of the speed of one, measured).

Cost: see the model card; the output head is computed for answer tokens only. On a CPU with bf16
instructions a bf16 step takes half of the time of an fp32 one, but only with fp32 attention: the
bf16 kernel of scaled_dot_product_attention alone takes 40 % of it otherwise (torch 2.13, measured).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import distributed
from torch.nn.functional import cross_entropy, scaled_dot_product_attention
from transformers import AttentionInterface, LlamaConfig, LlamaForCausalLM

from tools.embedded_model.batches import IGNORED, stream_batches
from tools.embedded_model.tokenizer import END, MAX_CONTEXT, PAD

# Step, rate of the matrices (Muon), rate of embeddings and norms (AdamW). The first part is fast
# and noisy; what must be copied or looked up is learnt only below.
RATES = (
    (0, 0.02 / 60, 0.003 / 60),
    (59, 0.02, 0.003),
    (900, 0.02, 0.003),
    (900, 0.006, 0.0012),
    (1750, 0.006, 0.0012),
    (2100, 0.0048, 0.00096),
    (3400, 0.001829, 0.000366),
    (3400, 0.0025, 0.0005),
    (6000, 0.0025, 0.0005),
    (7000, 0.0, 0.0),
)


@dataclass(frozen=True)
class Settings:
    """What a run depends on."""

    seed: int = 7
    workers: int = 2
    batch_tokens: int = 1536  # of one worker
    hidden: int = 256
    layers: int = 4
    intermediate: int = 576
    heads: int = 8
    kv_heads: int = 4
    weight_decay: float = 0.02
    checkpoint_every: int = 100


def build_model(settings: Settings, tokenizer: Tokenizer) -> LlamaForCausalLM:
    """Return the untrained model."""
    torch.manual_seed(settings.seed)
    end = tokenizer.token_to_id(END)
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=settings.hidden,
        num_hidden_layers=settings.layers,
        intermediate_size=settings.intermediate,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.kv_heads,
        max_position_embeddings=MAX_CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=tokenizer.token_to_id(PAD),
    )
    return LlamaForCausalLM(config)


def build_optimizers(model: LlamaForCausalLM, settings: Settings) -> list[torch.optim.Optimizer]:
    """Return Muon over the layers' matrices and AdamW over embeddings and norms."""
    named = [(name, weight) for name, weight in model.named_parameters()]
    matrices = [w for name, w in named if w.ndim == 2 and "embed" not in name]
    others = [w for name, w in named if w.ndim != 2 or "embed" in name]
    decay = settings.weight_decay
    return [
        torch.optim.Muon(matrices, lr=RATES[0][1], weight_decay=decay, momentum=0.95),
        torch.optim.AdamW(others, lr=RATES[0][2], weight_decay=0.0, betas=(0.9, 0.97), fused=True),
    ]


def rates(step: int) -> tuple[float, float]:
    """Return the rates of matrices and others, on straight lines between ``RATES``' points."""
    for (first, *low), (last, *high) in pairwise(RATES):
        if first <= step < last:
            share = (step - first) / (last - first)
            matrix, other = (a + share * (b - a) for a, b in zip(low, high, strict=True))
            return matrix, other
    return 0.0, 0.0


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attend causally, in fp32."""
    wide = (query.float(), key.float(), value.float())
    output = scaled_dot_product_attention(
        *wide, is_causal=True, scale=options["scaling"], enable_gqa=True
    )
    return output.to(query.dtype).transpose(1, 2).contiguous(), None


AttentionInterface.register("causal_fp32", attend)


def answer_loss(model: LlamaForCausalLM, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the mean loss over the answers' tokens."""
    wanted = labels[:, 1:] != IGNORED
    # Right-padded and causal: no mask is needed, nothing looks at the padding.
    hidden = model.model(ids[:, :-1], use_cache=False).last_hidden_state
    logits = model.lm_head(hidden[wanted])
    return cross_entropy(logits.float(), labels[:, 1:][wanted])


def train(
    settings: Settings,
    tokenizer: Tokenizer,
    folder: Path,
    rank: int,
    report: Callable[[str], None],
) -> LlamaForCausalLM:
    """Train, or go on from the checkpoint in ``folder``, as worker ``rank``; return the model.

    The process group of ``torch.distributed`` must be there.
    """
    model = build_model(settings, tokenizer)
    optimizers = build_optimizers(model, settings)
    quick = quick_copy(model)
    checkpoint = folder / "checkpoint.pt"
    first = 0
    if checkpoint.exists():
        first = restore(checkpoint, model, optimizers, settings)
    assign(quick, model)
    batches = stream_batches(
        tokenizer,
        settings.seed,
        settings.batch_tokens,
        first_pool=rank,
        skip=first,
        workers=settings.workers,
    )
    started, tokens, losses = time.monotonic(), 0, []
    for step in range(first, RATES[-1][0]):
        ids, labels = next(batches)
        losses.append(gradients_of(model, quick, ids, labels, settings.workers))
        apply(optimizers, rates(step))
        assign(quick, model)
        tokens += ids.numel() * settings.workers
        if (step + 1) % 20 == 0:
            speed = tokens / (time.monotonic() - started)
            report(f"step {step + 1} loss {sum(losses) / len(losses):.4f} {speed:.0f} tokens/s")
            losses = []
        if rank == 0 and (step + 1) % settings.checkpoint_every == 0:
            keep(checkpoint, model, optimizers, settings, step + 1)
    return model


def quick_copy(model: LlamaForCausalLM) -> LlamaForCausalLM:
    """Return a bf16 model of the same shape, for the steps."""
    quick: LlamaForCausalLM = LlamaForCausalLM(model.config).bfloat16()
    quick.set_attn_implementation("causal_fp32")
    return quick


def assign(quick: LlamaForCausalLM, model: LlamaForCausalLM) -> None:
    """Copy the weights of the fp32 model into the bf16 one."""
    with torch.no_grad():
        for rounded, weight in zip(quick.parameters(), model.parameters(), strict=True):
            rounded.copy_(weight)


def gradients_of(
    model: LlamaForCausalLM,
    quick: LlamaForCausalLM,
    ids: torch.Tensor,
    labels: torch.Tensor,
    workers: int,
) -> float:
    """Set the model's gradients to the mean over the workers; return this worker's loss."""
    quick.zero_grad(set_to_none=True)
    loss = answer_loss(quick, ids, labels)
    loss.backward()
    parts = [weight.grad.flatten() for weight in quick.parameters() if weight.grad is not None]
    flat = torch.cat(parts).float()
    distributed.all_reduce(flat)
    flat /= workers
    sizes = [weight.numel() for weight in model.parameters()]
    for weight, part in zip(model.parameters(), flat.split(sizes), strict=True):
        weight.grad = part.view_as(weight)
    return loss.item()


def apply(optimizers: list[torch.optim.Optimizer], rates: tuple[float, float]) -> None:
    """Make one step of each optimizer at its rate."""
    for optimizer, rate in zip(optimizers, rates, strict=True):
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()


def keep(
    path: Path,
    model: LlamaForCausalLM,
    optimizers: list[torch.optim.Optimizer],
    settings: Settings,
    step: int,
) -> None:
    """Write a checkpoint, whole or not at all."""
    state = {
        "settings": asdict(settings),
        "step": step,
        "model": model.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
    }
    fresh = path.with_suffix(".new")
    torch.save(state, fresh)
    fresh.replace(path)


def restore(
    path: Path,
    model: LlamaForCausalLM,
    optimizers: list[torch.optim.Optimizer],
    settings: Settings,
) -> int:
    """Read a checkpoint and return its step; one of other settings is refused."""
    state = torch.load(path, weights_only=True)
    if state["settings"] != asdict(settings):
        raise ValueError(f"{path} was written with other settings: {state['settings']}")
    model.load_state_dict(state["model"])
    for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    return int(state["step"])
