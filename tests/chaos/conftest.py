"""Fixtures of the chaos tests: a kernel that may be killed as often as a test likes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.kernel_process import STRUCK, KernelProcess, running_kernel


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[KernelProcess]:
    with running_kernel(tmp_path, **STRUCK) as process:
        yield process
