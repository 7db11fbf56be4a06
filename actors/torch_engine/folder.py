"""A model's folder, looked at before anything is loaded: is it whole, how large are its weights.

Reads config.json and the headers of the safetensors files (8 bytes of length, then JSON; the
rest of the file is not touched), so a model that cannot be used is refused in milliseconds.
Source: the safetensors format description.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from actors.torch_engine.settings import Settings

_BYTES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2}
_FLOATS = {"F64", "F32", "F16", "BF16"}
_TARGET = {"float32": 4, "bfloat16": 2, "float16": 2}
_MAX_HEADER = 100 << 20  # bytes; the limit of the safetensors library


@dataclass(frozen=True, slots=True)
class Weights:
    """What the headers say."""

    files: list[Path]
    parameters: int
    stored_bytes: int
    float_parameters: int

    def loaded_bytes(self, dtype: str) -> int:
        """Return what they take in memory in this type; "auto": as they are stored."""
        if dtype == "auto":
            return self.stored_bytes
        return self.float_parameters * _TARGET[dtype] + (self.parameters - self.float_parameters)


def read_config(settings: Settings) -> dict[str, Any]:
    """Return config.json.

    Raises:
        BadModelError: no folder, no such file, or no JSON object.
    """
    if not settings.folder.is_dir():
        raise settings.problem("there is no such folder")
    path = settings.folder / "config.json"
    try:
        config = json.loads(path.read_text())
    except FileNotFoundError:
        raise settings.problem("the folder has no config.json") from None
    except (OSError, ValueError) as error:
        raise settings.problem(f"config.json cannot be read: {error}") from error
    if not isinstance(config, dict) or not config.get("model_type"):
        raise settings.problem("config.json names no model_type")
    return config


def read_weights(settings: Settings) -> Weights:
    """Return what the safetensors headers say.

    Raises:
        BadModelError: files are missing or are no safetensors files.
    """
    files = _weight_files(settings)
    parameters = stored = floats = 0
    for file in files:
        for name, tensor in _header(settings, file).items():
            if name == "__metadata__":
                continue
            count = prod(tensor["shape"])
            parameters += count
            stored += count * _BYTES.get(tensor["dtype"], 1)
            floats += count if tensor["dtype"] in _FLOATS else 0
    return Weights(files, parameters, stored, floats)


def _weight_files(settings: Settings) -> list[Path]:
    index = settings.folder / "model.safetensors.index.json"
    if index.exists():
        try:
            names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise settings.problem(f"{index.name} cannot be read: {error!r}") from error
        files = [settings.folder / name for name in names]
    else:
        files = sorted(settings.folder.glob("*.safetensors"))
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise settings.problem(f"{missing[0]} is missing")
    if not files:
        raise settings.problem("the folder has no safetensors weights")
    return files


def _header(settings: Settings, file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length > min(_MAX_HEADER, file.stat().st_size):
                raise ValueError("it ends early")
            header = json.loads(stream.read(length))
            ends = [t["data_offsets"][1] for n, t in header.items() if n != "__metadata__"]
            if 8 + length + max(ends, default=0) > file.stat().st_size:
                raise ValueError("it ends early")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise settings.problem(f"{file.name} is no safetensors file: {error}") from error
    if not isinstance(header, dict):
        raise settings.problem(f"{file.name} is no safetensors file")
    return header
