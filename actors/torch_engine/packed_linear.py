"""Linear layers with a second copy of their weights, laid out for steps of few tokens.

For a product of few rows torch lays the whole weight out anew at each call, which then costs more
than the arithmetic: with 16 rows of a 768 x 2048 layer it reached 30 GFLOP/s where 512 rows reached
105. oneDNN can keep that layout. Decodes are steps of few rows; a prompt's chunk is not, and is
computed as before.

What it is not: another arithmetic. Sums are made in another order, so results differ by rounding,
as they do between steps of different size anyhow.

Cost: memory for the copy, so it is made only where that is a small part of what is free.
Measured (fp32, one thread, a CPU with AVX-512, weights not in its caches): 1.5 times the speed of
torch's own at 4 to 16 rows, 1.3 at 32 to 64, 1.1 at 128 to 256, below 1 at 1 and at 512; nothing
for weights that fit in the caches.
"""

from __future__ import annotations

from typing import Any, cast

import torch

FEWEST_ROWS, MOST_ROWS = 2, 256
FEWEST_WEIGHTS = 1 << 18  # of a layer; smaller ones stay in the caches
SHARE_OF_FREE = 0.25  # of memory, for all copies
ROWS_HINT = 16  # what oneDNN lays out for


class PackedLinear(torch.nn.Linear):  # type: ignore[misc]
    """See the module head. What it was before, it still is: its weight stays where it was."""

    packed: torch.Tensor

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002  # torch's name
        """See torch.nn.Linear."""
        rows = input.numel() // self.in_features
        if not FEWEST_ROWS <= rows <= MOST_ROWS or input.dtype != self.weight.dtype:
            return super().forward(input)
        product = torch.ops.mkldnn._linear_pointwise(input, self.packed, self.bias, "none", [], "")
        return cast(torch.Tensor, product)


def pack_linears(model: torch.nn.Module, free_bytes: int) -> int:
    """Give the large linear layers of a model on a CPU their copies; return the bytes these take.

    None gets one if together they would take more than SHARE_OF_FREE of ``free_bytes``.
    """
    layers = [module for module in model.modules() if _gains(module)]
    needed = sum(int(layer.weight.nbytes) for layer in layers)
    if not torch.backends.mkldnn.is_available() or needed > SHARE_OF_FREE * free_bytes:
        return 0
    for layer in layers:
        weight = layer.weight.detach().contiguous()
        packed: Any = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS_HINT)
        layer.__class__ = PackedLinear
        layer.packed = packed
    return needed


def _gains(module: torch.nn.Module) -> bool:
    if type(module) is not torch.nn.Linear:  # what others have made of it may hold no such weight
        return False
    weight = module.weight
    is_plain = weight.device.type == "cpu" and weight.dtype == torch.float32
    return is_plain and int(weight.numel()) >= FEWEST_WEIGHTS
