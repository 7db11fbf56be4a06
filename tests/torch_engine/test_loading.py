"""A model that cannot be used is refused with a typed error, and the reason is said."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from actors.torch_engine import loading, memory
from actors.torch_engine.assembly import assemble
from actors.torch_engine.settings import settings_of
from ipc.errors import BadModelError
from tests.torch_engine.models import reference_model


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "llama"
    reference_model("llama").save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """Return a copy that a test may break."""
    return Path(shutil.copytree(saved, tmp_path / "model"))


def refusal(folder: Path, **spec: Any) -> str:
    """Return why the model is refused."""
    fields: dict[str, Any] = {"name": "m", "path": str(folder), "max_running": 2, **spec}
    with pytest.raises(BadModelError) as caught:
        assemble(settings_of(fields), lambda progress: None)  # type: ignore[arg-type]
    assert (caught.value.model, caught.value.location) == ("m", str(folder))
    return str(caught.value.problem)


def edit(folder: Path, **fields: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.mark.parametrize("dtype", ["auto", "float32", "bfloat16", "float16"])
def test_a_folder_is_loaded_in_each_dtype_and_tells_its_facts(saved: Path, dtype: str) -> None:
    told: list[float] = []
    spec = {"name": "m", "path": str(saved), "dtype": dtype, "max_running": 2}

    facts = assemble(settings_of(spec), told.append).facts  # type: ignore[arg-type]

    assert facts["architecture"] == "LlamaForCausalLM"
    assert facts["dtype"] == ("float32" if dtype == "auto" else dtype)
    assert facts["block_bytes"] == 2 * 2 * 16 * (12 + 16) * (
        4 if dtype in ("auto", "float32") else 2
    )
    assert facts["num_blocks"] == 2 * 256 // 16  # what two requests of the longest can use
    assert (facts["max_context"], facts["stop_ids"]) == (256, [2])
    assert facts["recompute_ns_per_token"] > 0
    assert facts["swap_ns_per_block"] > 0
    assert told == sorted(told)
    assert 0 < told[0] < told[-1] < 1


def test_half_precision_follows_the_single_precision_logits(saved: Path) -> None:
    ids = torch.arange(3, 40)
    found = {}
    for dtype in ("float32", "bfloat16", "float16"):
        spec = {"name": "m", "path": str(saved), "dtype": dtype, "max_running": 1}
        engine = assemble(settings_of(spec), lambda progress: None)  # type: ignore[arg-type]
        from actors.torch_engine.self_check import _through_blocks

        with torch.inference_mode():
            found[dtype] = _through_blocks(engine.runner, ids.numpy(), slice(0, 37)).float()

    for dtype, near in (("bfloat16", 0.1), ("float16", 0.01)):
        off = (found[dtype] - found["float32"]).norm() / found["float32"].norm()
        assert 0 < off < near


def test_a_broken_folder_is_refused_before_torch_is_asked(folder: Path) -> None:
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()

    assert "no such folder" in refusal(folder / "nowhere")
    weights.write_bytes(whole[: len(whole) // 2])
    assert "ends early" in refusal(folder)
    weights.write_bytes(b"\xff" * 100)
    assert "no safetensors file" in refusal(folder)
    weights.unlink()
    assert "no safetensors weights" in refusal(folder)
    (folder / "config.json").write_text("{")
    assert "config.json cannot be read" in refusal(folder)
    (folder / "config.json").unlink()
    assert "no config.json" in refusal(folder)


def test_a_missing_shard_is_named(folder: Path) -> None:
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))

    assert "model-00001-of-00002.safetensors is missing" in refusal(folder)


def test_weights_that_do_not_fit_the_configuration_are_refused(folder: Path) -> None:
    edit(folder, num_hidden_layers=3)
    assert "missing" in refusal(folder)
    edit(folder, num_hidden_layers=2, intermediate_size=96)
    assert "down_proj.weight is [48, 64], by config.json [48, 96]" in refusal(folder)


@pytest.mark.parametrize("value", [float("nan"), 1e38])
def test_weights_that_give_no_finite_logits_are_refused(folder: Path, value: float) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][3] = value
    weights["lm_head.weight"][:, 3] = 1e38
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    assert "its logits are not finite" in refusal(folder)


def test_what_is_no_decoder_is_refused(folder: Path) -> None:
    edit(folder, model_type="t5", architectures=["T5ForConditionalGeneration"])
    assert "no decoder-only language model" in refusal(folder)
    edit(folder, model_type="bert", architectures=["BertForMaskedLM"])
    assert "no causal language model" in refusal(folder)
    edit(folder, model_type="never heard of")
    assert "not understood" in refusal(folder)


def test_layers_without_attention_are_refused(tmp_path: Path) -> None:
    import transformers

    config = transformers.MambaConfig(
        hidden_size=32, num_hidden_layers=2, vocab_size=100, state_size=4
    )
    transformers.MambaForCausalLM(config).save_pretrained(tmp_path)

    assert "layers" in refusal(tmp_path) or "packed batches" in refusal(tmp_path)


def test_attention_that_is_more_than_the_interface_tells_is_refused(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from actors.torch_engine import attention

    monkeypatch.setattr(attention, "Scores", lambda scale, *rest: _Scores(scale * 2, *rest))

    assert "computes something else" in refusal(saved)


_Scores = __import__("actors.torch_engine.attention", fromlist=["Scores"]).Scores


def test_a_model_that_does_not_fit_in_memory_is_refused_before_it_is_loaded(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "_model", None)  # nobody gets so far

    assert "MiB are free" in refusal(saved, kv_bytes=1 << 60)
    monkeypatch.setattr(loading, "available_bytes", lambda: 1000)
    assert "it needs" in refusal(saved)


def test_a_pool_without_room_for_a_block_is_refused(saved: Path) -> None:
    assert "a block of 16 tokens takes" in refusal(saved, kv_bytes=100)


@pytest.mark.parametrize(
    "spec", [{"dtype": "int3"}, {"block_size": 5}, {"block_size": 0}, {"max_running": 0}]
)
def test_settings_out_of_range_are_refused(saved: Path, spec: dict[str, Any]) -> None:
    assert refusal(saved, **spec)


def test_the_blocks_are_what_fits_but_not_more_than_can_be_used() -> None:
    settings = settings_of({"name": "m", "path": "-", "max_running": 4})
    size = {"block_bytes": 1000, "context": 160, "share": 0.25}

    assert memory.pool_size(settings, free_bytes=1 << 40, **size).num_blocks == 40  # type: ignore[arg-type]
    assert memory.pool_size(settings, free_bytes=40_000, **size).num_blocks == 10  # type: ignore[arg-type]


def test_the_engine_is_imported_without_torch_and_says_how_to_get_it(saved: Path) -> None:
    program = f"""
import sys
sys.modules["torch"] = None  # as if it were not installed
from actors.torch_engine.engine import TorchEngine
from actors.torch_engine.settings import settings_of
from actors.torch_engine.worker import Worker
from ipc.errors import BadModelError
try:
    Worker(settings_of({{"name": "m", "path": "{saved}"}}), None)._assemble()
except BadModelError as error:
    print(error)
"""

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert "pip install 'llmos[engine]'" in done.stdout
