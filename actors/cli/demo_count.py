"""The count that `llmos demo` compares with: one process, one loop, no messages.

Written apart from examples/stdlib_index.py on purpose: an error shared by both would not show.
"""

from __future__ import annotations

import io
import keyword
import os
import sys
import tokenize
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

SKIPPED = ("site-packages", "dist-packages", "__pycache__")


@dataclass(slots=True)
class Totals:
    """What is compared; the fingerprint tells which file gave which count."""

    files: int = 0
    identifiers: int = 0
    fingerprint: int = 0


def python_files(root: str) -> Iterator[str]:
    """Yield the path of each Python file below the directory."""
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in SKIPPED]
        for name in names:
            path = os.path.join(folder, name)
            if name.endswith(".py") and not os.path.islink(path):
                yield path


def count_alone(paths: list[str], progress: Callable[[int], None]) -> Totals:
    """Return the totals of the files; ``progress`` is told the number done so far."""
    totals = Totals()
    for path in paths:
        found = identifiers_of(path)
        totals.files += 1
        totals.identifiers += 0 if found is None else found
        totals.fingerprint += zlib.crc32(bytes(f"{path}:{found}", "utf-8"))
        progress(totals.files)
    return totals


def identifiers_of(path: str) -> int | None:
    """Return how many names a file holds that are not keywords; None if it is not Python."""
    with open(path, "rb") as file:
        data = file.read()
    found = 0
    try:
        for token in tokenize.tokenize(io.BytesIO(data).readline):
            found += token.type == tokenize.NAME and not keyword.iskeyword(token.string)
    except (SyntaxError, ValueError, tokenize.TokenError):
        return None
    return found


def standard_library() -> str:
    """Return the directory of the standard library this interpreter runs on."""
    return os.path.dirname(os.path.realpath(sys.modules["os"].__file__ or ""))
