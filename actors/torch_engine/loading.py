"""From a folder to a model that attends over our blocks.

Order: what costs nothing is checked first (files, architecture, memory), then weights are
loaded, then the model says what its attention layers are (probe.py), then it must compute
through our blocks what the library's own attention computes. A model that fails any of these
ends in BadModelError, and nothing else has been disturbed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from actors.torch_engine.attention import ATTENTION, register, running
from actors.torch_engine.folder import read_config, read_weights
from actors.torch_engine.kv_store import LayerShape
from actors.torch_engine.memory import available_bytes, check_fits
from actors.torch_engine.probe import PROBE_TOKENS, Probe
from actors.torch_engine.settings import Settings

Progress = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model on its device, attending by ``attention.ATTENTION``."""

    model: Any
    config: Any  # of the text model
    tokenizer: Any  # None: the folder has none
    device: torch.device
    dtype: torch.dtype
    shapes: dict[int, LayerShape]
    architecture: str
    parameters: int
    weight_bytes: int
    vocab_size: int
    max_context: int
    stop_ids: tuple[int, ...]


def load(settings: Settings, progress: Progress) -> Loaded:
    """Load the model.

    Raises:
        BadModelError: it cannot be used.
    """
    raw, weights = read_config(settings), read_weights(settings)
    device = _device(settings)
    check_fits(settings, weights.loaded_bytes(settings.dtype), free_bytes(device))
    config = _config(settings)
    _check_architecture(settings, config, raw)
    progress(0.1)
    tokenizer = _tokenizer(settings)
    progress(0.2)
    model = _model(settings, config, device)
    progress(0.8)
    return describe(settings, model, tokenizer, device)


def describe(settings: Settings, model: Any, tokenizer: Any, device: torch.device) -> Loaded:
    """Return the model with what it says of itself; it attends through ``ATTENTION`` then."""
    register()
    text = model.config.get_text_config(decoder=True)
    model.set_attn_implementation(ATTENTION)
    longest = _longest_context(text)
    return Loaded(
        model=model,
        config=text,
        tokenizer=tokenizer,
        device=device,
        dtype=model.dtype,
        shapes=_shapes(settings, model, device),
        architecture=type(model).__name__,
        parameters=model.num_parameters(),
        weight_bytes=_weight_bytes(model),
        vocab_size=int(text.vocab_size),
        max_context=min(settings.max_context or longest, longest),
        stop_ids=_stop_ids(model, tokenizer),
    )


def free_bytes(device: torch.device) -> int:
    """Return what may still be allocated on the device."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return available_bytes()


def _device(settings: Settings) -> torch.device:
    wanted = settings.device
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(wanted)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise settings.problem(f"device {settings.device!r}: {error}") from error
    return device


def _config(settings: Settings) -> Any:
    try:
        return transformers.AutoConfig.from_pretrained(
            settings.path, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # the library raises whatever its parts raise
        raise settings.problem(f"its configuration is not understood: {error}") from error


def _check_architecture(settings: Settings, config: Any, raw: dict[str, Any]) -> None:
    known = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(config.model_type)
    names = raw.get("architectures") or []
    causal = {known} if isinstance(known, str) else set(known or ())
    if config.is_encoder_decoder or not causal:
        raise settings.problem(f"{config.model_type} is no decoder-only language model")
    every = {
        name
        for value in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()
        for name in ([value] if isinstance(value, str) else value)
    }
    if names and not every & set(names):
        raise settings.problem(f"{', '.join(names)} is no causal language model")


def _tokenizer(settings: Settings) -> Any:
    files = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json")
    if not any((settings.folder / name).exists() for name in files):
        return None
    try:
        return transformers.AutoTokenizer.from_pretrained(
            settings.path, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # as above
        raise settings.problem(f"its tokenizer cannot be loaded: {error}") from error


def _model(settings: Settings, config: Any, device: torch.device) -> Any:
    transformers.utils.logging.disable_progress_bar()
    dtype: Any = "auto" if settings.dtype == "auto" else getattr(torch, settings.dtype)
    try:
        model, info = transformers.AutoModelForCausalLM.from_pretrained(
            settings.path,
            config=config,
            dtype=dtype,
            attn_implementation="eager",
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are told below, by name
        )
    except Exception as error:  # as above
        raise settings.problem(f"its weights cannot be loaded: {error}") from error
    if info["missing_keys"]:
        some = sorted(map(str, info["missing_keys"]))[:3]
        raise settings.problem(f"weights are missing: {', '.join(some)}")
    if info["mismatched_keys"]:
        name, stored, wanted = min(info["mismatched_keys"])
        shapes = f"is {list(stored)}, by config.json {list(wanted)}"
        raise settings.problem(f"weights are of another shape: {name} {shapes}")
    return model.eval().requires_grad_(False).to(device)


def _shapes(settings: Settings, model: Any, device: torch.device) -> dict[int, LayerShape]:
    probe = Probe()
    ids = torch.zeros((1, PROBE_TOKENS), dtype=torch.long, device=device)
    positions = torch.arange(PROBE_TOKENS, device=device)[None]
    try:
        with torch.inference_mode(), running(probe):
            model(input_ids=ids, position_ids=positions, use_cache=False, logits_to_keep=ids[0, :1])
    except Exception as error:  # a model we know nothing of
        raise settings.problem(f"it does not run on packed batches: {error!r}") from error
    layers = model.config.get_text_config(decoder=True).num_hidden_layers
    if sorted(probe.calls) != list(range(layers)):
        raise settings.problem(
            f"{type(model).__name__} computes {len(set(probe.calls))} of {layers} layers by "
            "attention; only decoders whose layers all do can be served"
        )
    return probe.shapes


def _longest_context(config: Any) -> int:
    for name in ("max_position_embeddings", "n_positions", "max_seq_len"):
        value = getattr(config, name, None)
        if isinstance(value, int) and value > 0:
            # Within its first chunk, chunked attention is plain causal attention.
            return min(value, getattr(config, "attention_chunk_size", None) or value)
    return 1 << 17


def _weight_bytes(model: Any) -> int:
    return sum(p.numel() * p.element_size() for p in model.parameters())


def _stop_ids(model: Any, tokenizer: Any) -> tuple[int, ...]:
    found: set[Any] = set()
    said = [model.generation_config.eos_token_id, getattr(model.config, "eos_token_id", None)]
    for value in [*said, getattr(tokenizer, "eos_token_id", None)]:
        found.update(
            value if isinstance(value, list | tuple) else [value] if value is not None else []
        )
    return tuple(sorted(found))
