"""What the words of the lab's command line may be; each is checked before anything is computed.

They are argparse types: they give what was meant, or raise an error of one line that names the
option. Also the options that two commands share; others are in the commands' own files.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Collection, Sequence
from importlib.util import find_spec
from pathlib import Path

from bench.lab.engine_model import PRESETS
from ipc.errors import BadLoadError, UsageError

MAX_LOAD = 100.0  # ten thousand per cent of what the engine can do: more is a slip
PICTURES = (".png", ".pdf", ".svg")


def whole(option: str) -> Callable[[str], int]:
    """Return a reader of a whole number from 1 on. Its error: BadLoadError."""

    def read(text: str) -> int:
        if not text.isascii() or not text.isdigit() or int(text) < 1:
            raise BadLoadError(what=option, value=text, needs="a whole number from 1 on")
        return int(text)

    return read


def wholes(option: str) -> Callable[[str], list[int]]:
    """Return a reader of several, with commas between. Its error: BadLoadError."""
    read_one = whole(option)
    return lambda text: [read_one(word) for word in text.split(",")]


def load(text: str) -> float:
    """Return a share of what an engine can do.

    Raises:
        BadLoadError: it is none.
    """
    share: float | str
    try:
        share = float(text)
    except ValueError:
        share = text
    return check_load(share)


def check_load(share: float | str) -> float:
    """Return the share. Raises BadLoadError: it is none."""
    if isinstance(share, str) or not 0 < share < MAX_LOAD:
        raise BadLoadError(what="--load", value=share, needs="above 0, and a share: 0.9")
    return share


def names(option: str, known: Collection[str]) -> Callable[[str], list[str]]:
    """Return a reader of names, with commas between, each once. Its error: UsageError."""

    def read(text: str) -> list[str]:
        found = list(dict.fromkeys(text.split(",")))
        for name in found:
            if name not in known:
                raise UsageError(reason=f"{option}: no {name!r}; there are: {', '.join(known)}")
        return found

    return read


def picture(text: str) -> Path:
    """Return where a picture can be written.

    Raises:
        UsageError: not there, not of that kind, or nothing can draw it here.
    """
    path = Path(text)
    if find_spec("matplotlib") is None:
        raise UsageError(reason="--plot needs matplotlib: pip install 'llmos[plot]'")
    if path.suffix.lower() not in PICTURES:
        raise UsageError(reason=f"--plot {text}: a name ends in {', '.join(PICTURES)}")
    folder = path.parent
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise UsageError(reason=f"--plot {text}: no file can be written there")
    return path


def add_workload(
    parser: argparse.ArgumentParser, mixes: Sequence[str], *, engine: str, seeds: int, calls: int
) -> None:
    """Add what says which programs come to which engine."""
    parser.add_argument(
        "--mix",
        type=names("--mix", mixes),
        default=list(mixes),
        metavar="NAME,...",
        help=f"of {', '.join(mixes)} (default: all)",
    )
    parser.add_argument("--lengths", type=Path, metavar="TRACE", help="draw calls' lengths from it")
    parser.add_argument(
        "--engine-model",
        default=engine,
        metavar="NAME|FILE",
        help=f"{', '.join(PRESETS)}, or a JSON file (default: {engine})",
    )
    parser.add_argument(
        "--load",
        type=load,
        default=0.9,
        metavar="SHARE",
        help="of what the engine can do (default: 0.9)",
    )
    for name, number, what in (
        ("--seeds", seeds, "repeat with so many seeds"),
        ("--calls", calls, "of all programs of a seed"),
    ):
        parser.add_argument(
            name,
            type=whole(name),
            default=number,
            metavar="N",
            help=f"{what} (default: {number:,})",
        )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
