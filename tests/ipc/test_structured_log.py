"""structlog as the kernel and the SDK import it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHOW = """
import sys
from importlib import import_module

import_module(sys.argv[1])
print("structlog" in sys.modules, "rich" in sys.modules)
import rich.traceback
print("rich.traceback" in sys.modules)
"""


@pytest.mark.parametrize("module", ["kernel.__main__", "actors.zygote"])
def test_a_kernel_and_a_zygote_load_no_rich_and_whoever_wants_it_still_may(module: str) -> None:
    command = [sys.executable, "-c", SHOW, module]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["True", "False", "True"]
