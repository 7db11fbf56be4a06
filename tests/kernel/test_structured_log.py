"""structlog as the kernel imports it (the SDK: tests/actors/test_public.py)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHOW = """
import sys

import kernel.__main__
print("structlog" in sys.modules, "rich" in sys.modules)
import rich.traceback
print("rich.traceback" in sys.modules)
"""


def test_a_kernel_loads_no_rich_and_whoever_wants_it_still_may() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SHOW], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == ["True", "False", "True"]
