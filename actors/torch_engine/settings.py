"""What an engine is told (ipc.llm.ModelSpec), with defaults and checks.

The path of the model that ships with the package is a name, not a place (ipc.llm.EMBEDDED_PATH):
the kernel journals it, and each engine finds the folder in its own installation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from actors import embedded_model
from ipc.errors import BadModelError
from ipc.llm import EMBEDDED_PATH, ModelSpec

DTYPES = ("auto", "float32", "bfloat16", "float16")
BLOCK_ALIGNMENT = 4  # tokens; ext/paged_attention.pyx works on vectors of at least so many
_DEFAULTS: dict[str, Any] = {
    "name": "",
    "path": "",
    "dtype": "auto",
    "device": "auto",
    "threads": 0,
    "block_size": 16,
    "kv_bytes": 0,
    "host_kv_bytes": 0,
    "max_running": 256,
    "max_step_tokens": 512,
    "max_context": 0,
}


@dataclass(frozen=True, slots=True)
class Settings:
    """Fields are those of ModelSpec; 0 and "auto" leave the choice to the engine."""

    name: str
    path: str
    dtype: str
    device: str
    threads: int
    block_size: int
    kv_bytes: int
    host_kv_bytes: int
    max_running: int
    max_step_tokens: int
    max_context: int

    @property
    def folder(self) -> Path:
        """Return where the model lies."""
        return Path(self.path)

    def problem(self, text: str) -> BadModelError:
        """Return the error that names this model."""
        return BadModelError(model=self.name, location=self.path, problem=text)


def settings_of(spec: ModelSpec) -> Settings:
    """Return the spec with defaults.

    Raises:
        BadModelError: a field is out of range, or the embedded model is not installed.
    """
    given = {key: value for key, value in spec.items() if key in _DEFAULTS}
    settings = Settings(**(_DEFAULTS | given))
    if settings.path == EMBEDDED_PATH:
        settings = _embedded(settings)
    if settings.dtype not in DTYPES:
        raise settings.problem(f"dtype {settings.dtype!r} is none of {', '.join(DTYPES)}")
    if settings.block_size < 1 or settings.block_size % BLOCK_ALIGNMENT:
        raise settings.problem(f"block_size {settings.block_size} is not a multiple of 4")
    for limit in ("max_running", "max_step_tokens"):
        if getattr(settings, limit) < 1:
            raise settings.problem(f"{limit} is {getattr(settings, limit)}")
    return settings


def _embedded(settings: Settings) -> Settings:
    """Return the settings with the package's own folder.

    Its weights are stored in half precision to be small. They are computed with in single: that
    is what its card was measured with, and what a CPU does fast.
    """
    folder = embedded_model.PATH
    if not (folder / "config.json").is_file():
        problem = "this installation is without its files: install llmos from a whole checkout"
        raise settings.problem(f"{problem} (looked in {folder})")
    dtype = "float32" if settings.dtype == "auto" else settings.dtype
    return replace(settings, path=str(folder), dtype=dtype)
