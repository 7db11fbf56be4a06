"""The embedded model's path is a name that each engine resolves in its own installation."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors import embedded_model
from actors.torch_engine.settings import settings_of
from ipc.errors import BadModelError
from ipc.llm import EMBEDDED_MODEL, EMBEDDED_PATH, ModelSpec
from kernel.llm.registry import ModelRegistry

SPEC = ModelSpec(name=EMBEDDED_MODEL, path=EMBEDDED_PATH)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation's folder of the embedded model, still empty."""
    monkeypatch.setattr(embedded_model, "PATH", tmp_path)
    return tmp_path


def test_a_kernel_knows_the_embedded_model_by_that_name() -> None:
    assert ModelRegistry().default().spec == SPEC


def test_the_name_becomes_the_packages_folder_computed_in_single_precision(folder: Path) -> None:
    (folder / "config.json").write_text("{}")

    settings = settings_of(SPEC)

    assert (settings.folder, settings.dtype) == (folder, "float32")


def test_a_precision_that_was_asked_for_stays(folder: Path) -> None:
    (folder / "config.json").write_text("{}")

    assert settings_of(ModelSpec(**SPEC, dtype="bfloat16")).dtype == "bfloat16"


def test_other_paths_and_their_precision_are_left_alone(folder: Path) -> None:
    settings = settings_of(ModelSpec(name="mine", path=str(folder)))

    assert (settings.folder, settings.dtype) == (folder, "auto")


def test_an_installation_without_the_model_says_so(folder: Path) -> None:
    with pytest.raises(BadModelError) as caught:
        settings_of(SPEC)

    assert (caught.value.model, caught.value.location) == (EMBEDDED_MODEL, EMBEDDED_PATH)
    assert str(folder) in caught.value.problem
