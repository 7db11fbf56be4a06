"""The thread team of torch, lent to the attention kernel.

Two teams on the same cores would wait for each other's spinning threads, so the kernel runs on
the OpenMP runtime that torch has loaded, found by its mapping. None found: 0, and the kernel
makes threads of its own for each call.
"""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

_RUNTIME = re.compile(r"\s(/\S*lib(?:gomp|iomp5|omp)[^/\s]*\.so\S*)$", re.MULTILINE)


def team_address() -> int:
    """Return the address of GOMP_parallel in the loaded OpenMP runtime, or 0."""
    for path in dict.fromkeys(_RUNTIME.findall(Path("/proc/self/maps").read_text())):
        try:
            function = ctypes.CDLL(path).GOMP_parallel
        except (OSError, AttributeError):
            continue
        return ctypes.cast(function, ctypes.c_void_p).value or 0
    return 0
