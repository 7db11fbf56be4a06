"""Linear layers with a copy of their weights for small steps: the same product, and when."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from actors.torch_engine.packed_linear import (
    FEWEST_WEIGHTS,
    MOST_ROWS,
    PackedLinear,
    pack_linears,
)
from tests.torch_engine.models import ARCHITECTURES, VOCAB, greedy
from tests.torch_engine.scheduler import Scheduler, assembled

PLENTY = 1 << 40
pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="this torch is without oneDNN"
)
ARCHITECTURES["wide"] = (
    "Llama",
    {
        **ARCHITECTURES["llama"][1],
        "hidden_size": 512,
        "intermediate_size": 1024,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
    },
)


def layers(**options: Any) -> tuple[torch.nn.Linear, torch.nn.Sequential]:
    """Return a layer, and one of the same weights that was packed."""
    torch.manual_seed(1)
    plain = torch.nn.Linear(512, 1024, **options).eval()
    packed = torch.nn.Linear(512, 1024, **options).eval()
    packed.load_state_dict(plain.state_dict())
    return plain, torch.nn.Sequential(packed)


@pytest.mark.parametrize("rows", [1, 2, 17, MOST_ROWS, MOST_ROWS + 44])
@pytest.mark.parametrize("bias", [True, False])
def test_the_product_is_the_same(rows: int, bias: bool) -> None:
    plain, packed = layers(bias=bias)
    assert pack_linears(packed, PLENTY) == plain.weight.nbytes

    for shape in ((rows, 512), (1, rows, 512)):
        given = torch.randn(shape)
        with torch.inference_mode():
            torch.testing.assert_close(packed(given), plain(given), rtol=1e-4, atol=1e-5)


def test_small_steps_are_computed_with_the_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    _, model = layers()
    pack_linears(model, PLENTY)
    (layer,) = model
    assert isinstance(layer, PackedLinear)
    with torch.no_grad():
        layer.weight.zero_()  # the copy is another memory
        layer.bias.zero_()
        given = torch.ones(MOST_ROWS, 512)

        assert model(given).abs().max() > 0
        assert model(given[:1]).abs().max() == 0
        assert model(torch.ones(MOST_ROWS + 1, 512)).abs().max() == 0


def test_nothing_is_copied_where_memory_is_short() -> None:
    plain, model = layers()

    assert pack_linears(model, 4 * plain.weight.nbytes - 1) == 0
    assert type(model[0]) is torch.nn.Linear
    assert pack_linears(model, 4 * plain.weight.nbytes) == plain.weight.nbytes


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_other_layers_are_left_alone(dtype: torch.dtype) -> None:
    class Own(torch.nn.Linear):
        pass

    narrow = torch.nn.Linear(16, FEWEST_WEIGHTS // 16 - 1)
    half = torch.nn.Linear(512, 1024).to(dtype)
    model = torch.nn.Sequential(narrow, half, Own(512, 1024))

    assert pack_linears(model, PLENTY) == 0
    assert [type(layer) for layer in model] == [torch.nn.Linear, torch.nn.Linear, Own]


def test_greedy_tokens_of_a_wide_model_are_those_of_generate() -> None:
    engine = assembled("wide")
    kinds = {type(module) for module in engine.loaded.model.modules()}
    scheduler = Scheduler(engine)
    prompts = [[5, 9, 200 % VOCAB, 7], [3] * 20 + [8], [11, 4]]

    jobs = [scheduler.submit(prompt, 12) for prompt in prompts]
    scheduler.run_all(chunk=7)

    assert PackedLinear in kinds
    assert [job.completion for job in jobs] == [greedy("wide", one, 12) for one in prompts]
