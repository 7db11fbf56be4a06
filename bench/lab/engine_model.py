"""What an engine costs: the time of a step from what is in it, and what it can hold.

    step = step_us + prefill_us x prompt tokens computed + row_us x decoding requests
                   + context_us x tokens whose keys and values are read
                   + swap_us x blocks copied to host memory or back

The presets are typical of their kind, worked out from public figures of memory bandwidth and
arithmetic (a step reads the weights once; a prompt token costs two operations a weight), not
measured by us: what is measured on an engine of one's own goes into a JSON file with these fields.
"""

from __future__ import annotations

import json
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any

from ipc.engine import EngineFacts
from ipc.errors import BadConfigError


@dataclass(frozen=True, slots=True)
class EngineModel:
    """See the module head. Everything from block_size on is what an engine tells the kernel."""

    step_us: float
    prefill_us: float
    row_us: float
    context_us: float
    block_size: int = 16
    num_blocks: int = 25_000
    max_context: int = 131_072
    max_running: int = 128
    max_step_tokens: int = 2_048
    num_host_blocks: int = 0
    swap_us: float = 0.0

    def facts(self) -> EngineFacts:
        """Return what the engine would tell the kernel's scheduler."""
        return EngineFacts(
            block_size=self.block_size,
            num_blocks=self.num_blocks,
            max_context=self.max_context,
            max_running=self.max_running,
            max_step_tokens=self.max_step_tokens,
            vocab_size=32_000,
            num_host_blocks=self.num_host_blocks,
            recompute_ns_per_token=1e3 * self.prefill_us,
            swap_ns_per_block=1e3 * self.swap_us,
        )

    def alone_ns(self, prompt_tokens: int, output_tokens: int) -> int:
        """Return the time of a request that has the engine to itself and finds nothing cached."""
        chunks = -(-prompt_tokens // self.max_step_tokens)
        # Each stretch of the prompt reads what was computed before it, and itself.
        read = self.max_step_tokens * chunks * (chunks - 1) / 2 + prompt_tokens
        prefill_us = self.step_us * chunks + self.prefill_us * prompt_tokens
        decodes = output_tokens - 1
        context = decodes * prompt_tokens + decodes * (decodes + 1) / 2
        decode_us = decodes * (self.step_us + self.row_us)
        return round(1e3 * (prefill_us + decode_us + self.context_us * (read + context)))


# What a file may say. A step takes some time, or a replay would have no length; the counts are
# bounded by what the lab can keep in memory.
_LONGEST_US = 1_000_000_000
_TIMES: dict[str, tuple[float, float]] = {
    "step_us": (0.001, _LONGEST_US),
    **dict.fromkeys(("prefill_us", "row_us", "context_us", "swap_us"), (0, _LONGEST_US)),
}
_COUNTS: dict[str, tuple[int, int]] = {
    "block_size": (1, 65_536),
    "num_blocks": (1, 10_000_000),
    "max_context": (1, 1 << 30),
    "max_running": (1, 65_536),
    "max_step_tokens": (1, 1 << 24),
    "num_host_blocks": (0, 10_000_000),
}
_LACKS_DEFAULT = [each.name for each in fields(EngineModel) if each.default is MISSING]

PRESETS = {
    # 8e9 weights in 16 bits on 3.35 TB/s and about 400 Tflop/s of use; 128 KiB of KV a token. Host
    # memory of 64 GiB over PCIe 5 at 40 GB/s: a block of 2 MiB in 50 us.
    "gpu-8b": EngineModel(
        5_000, 40, 20, 0.04, num_blocks=28_000, num_host_blocks=32_000, swap_us=50
    ),
    # The same model on a card with 24 GB and 1 TB/s, PCIe 4: few requests fit.
    "gpu-8b-small": EngineModel(
        17_000,
        120,
        60,
        0.13,
        num_blocks=2_800,
        max_running=16,
        num_host_blocks=32_000,
        swap_us=100,
    ),
    # 70e9 weights over four of the large ones; 320 KiB of KV a token, a quarter on each.
    "gpu-70b": EngineModel(
        12_000, 100, 40, 0.03, num_blocks=40_000, num_host_blocks=48_000, swap_us=32
    ),
    # 1e9 weights on a desktop processor at 50 GB/s. Its blocks are in host memory already.
    "cpu-1b": EngineModel(
        40_000, 4_000, 1_000, 0.6, num_blocks=8_000, max_running=8, max_step_tokens=256
    ),
}


def engine_model(name: str) -> EngineModel:
    """Return a preset, or the model that a JSON file describes; its "preset" is what it amends.

    Raises:
        BadConfigError: neither; or a field that is unknown, missing or no number to work with.
    """
    if name in PRESETS:
        return PRESETS[name]
    try:
        values = json.loads(Path(name).read_text())
    except (OSError, ValueError) as problem:
        known = f"presets are {', '.join(PRESETS)}; as a file: {problem}"
        raise BadConfigError(source=name, problem=known) from problem
    return _from_values(name, values)


def _from_values(source: str, values: Any) -> EngineModel:
    if not isinstance(values, dict):
        raise BadConfigError(source=source, problem="an engine model is a JSON object")
    preset = values.pop("preset", None)
    if preset is not None and (not isinstance(preset, str) or preset not in PRESETS):
        raise BadConfigError(source=source, problem=f"presets are {', '.join(PRESETS)}")
    for key, value in values.items():
        _check(source, key, value)
    lacking = [name for name in _LACKS_DEFAULT if name not in values]
    if preset is None and lacking:
        problem = f"it lacks {', '.join(lacking)}; or a preset that has them"
        raise BadConfigError(source=source, problem=problem)
    return replace(PRESETS[preset], **values) if preset else EngineModel(**values)


def _check(source: str, key: str, value: Any) -> None:
    if key in _COUNTS:
        kinds, (least, most) = (int,), _COUNTS[key]
    elif key in _TIMES:
        kinds, (least, most) = (int, float), _TIMES[key]
    else:
        known = ", ".join(("preset", *_TIMES, *_COUNTS))
        raise BadConfigError(source=source, problem=f"unknown {key!r}; known: {known}")
    if type(value) not in kinds or not least <= value <= most:
        what = "a whole number" if key in _COUNTS else "a number"
        problem = f"{key} is {value!r}, it must be {what} from {least:,} to {most:,}"
        raise BadConfigError(source=source, problem=problem)
