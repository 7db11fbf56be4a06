"""Learns from one forward pass what a model's attention layers are.

So no architecture is known by name: whoever calls the library's attention interface shows heads
and dimensions in doing so. Who does not (state-space layers, encoders) cannot be served.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from actors.torch_engine.attention import Scores
from actors.torch_engine.kv_store import LayerShape

PROBE_TOKENS = 4


@dataclass
class Probe:
    """A batch of one sequence from position 0, without a store; remembers what it saw."""

    shapes: dict[int, LayerShape] = field(default_factory=dict)
    calls: list[int] = field(default_factory=list)

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, how: Scores
    ) -> torch.Tensor:
        """See actors.torch_engine.attention.Batch."""
        self.calls.append(layer)
        heads, kv_heads = query.shape[1], key.shape[1]
        self.shapes[layer] = LayerShape(heads, kv_heads, key.shape[3], value.shape[3])
        shape = (1, query.shape[2], heads, value.shape[3])
        return torch.zeros(shape, dtype=query.dtype, device=query.device)
