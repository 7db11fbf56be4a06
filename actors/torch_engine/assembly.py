"""Puts an engine together: model, blocks, slots, runner, text; and tells its facts.

Runs in the loading thread; the only module that the engine imports torch through.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from actors.torch_engine import rates, self_check
from actors.torch_engine.completions import Completions
from actors.torch_engine.detokeniser import decoder_of
from actors.torch_engine.grammar import Grammars
from actors.torch_engine.kv_store import KvStore, block_bytes
from actors.torch_engine.loading import Loaded, Progress, free_bytes, load
from actors.torch_engine.memory import CPU_SHARE, CUDA_SHARE, pool_size
from actors.torch_engine.packed_linear import pack_linears
from actors.torch_engine.preparation import Preparer
from actors.torch_engine.sampling import Sampler
from actors.torch_engine.settings import Settings
from actors.torch_engine.slots import Slots
from actors.torch_engine.step import Runner
from ipc.engine import EngineFacts


@dataclass(frozen=True, slots=True)
class Assembled:
    """What an engine works with once it is ready."""

    loaded: Loaded
    runner: Runner
    completions: Completions
    preparer: Preparer
    facts: EngineFacts


def assemble(settings: Settings, progress: Progress) -> Assembled:
    """Load the model and make all that serves it. The calling thread is the step thread.

    Raises:
        BadModelError: it cannot be used.
    """
    began = time.monotonic()
    if settings.threads:
        torch.set_num_threads(settings.threads)
    loaded = load(settings, progress)
    assembled = build(settings, loaded)
    progress(0.95)
    assembled.facts["load_s"] = time.monotonic() - began
    return assembled


def build(settings: Settings, loaded: Loaded) -> Assembled:
    """Make all that serves a loaded model."""
    with torch.inference_mode():
        packed_bytes = pack_linears(loaded.model, free_bytes(loaded.device))
    store = _store(settings, loaded)
    context = min(loaded.max_context, store.num_blocks * settings.block_size)
    slots = Slots(
        settings.max_running,
        block_size=settings.block_size,
        max_context=context,
        vocab_size=loaded.vocab_size,
    )
    grammars = Grammars(loaded.tokenizer, loaded.vocab_size, loaded.stop_ids)
    runner = Runner(loaded, store, Sampler(settings.name, grammars), slots)
    self_check.check(settings, loaded, runner)
    facts = EngineFacts(
        architecture=loaded.architecture,
        parameters=loaded.parameters,
        weight_bytes=loaded.weight_bytes + packed_bytes,
        dtype=str(loaded.dtype).removeprefix("torch."),
        device=str(loaded.device),
        vocab_size=loaded.vocab_size,
        max_context=context,
        block_size=settings.block_size,
        num_blocks=store.num_blocks,
        num_host_blocks=store.num_host_blocks,
        block_bytes=store.block_bytes,
        max_running=settings.max_running,
        max_step_tokens=settings.max_step_tokens,
        recompute_ns_per_token=rates.recompute_ns_per_token(runner, settings.max_step_tokens),
        swap_ns_per_block=rates.swap_ns_per_block(store),
        stop_ids=list(loaded.stop_ids),
    )
    slots.drop_all()
    preparer = Preparer(
        loaded.tokenizer, grammars, vocab_size=loaded.vocab_size, max_context=context
    )
    completions = Completions(decoder_of(loaded.tokenizer), slots)
    return Assembled(loaded, runner, completions, preparer, facts)


def _store(settings: Settings, loaded: Loaded) -> KvStore:
    size = pool_size(
        settings,
        block_bytes=block_bytes(loaded.shapes, settings.block_size, loaded.dtype),
        context=loaded.max_context,
        free_bytes=free_bytes(loaded.device),
        share=CPU_SHARE if loaded.device.type == "cpu" else CUDA_SHARE,
    )
    try:
        return KvStore(
            loaded.shapes,
            block_size=settings.block_size,
            num_blocks=size.num_blocks,
            num_host_blocks=size.num_host_blocks,
            dtype=loaded.dtype,
            device=loaded.device,
        )
    except RuntimeError as error:  # torch's out of memory
        raise settings.problem(f"{size.num_blocks} blocks cannot be allocated: {error}") from error
