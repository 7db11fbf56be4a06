"""Fixtures of the command line's tests."""

import pytest

from tests.actors.cli.fake import Terminal, terminal


@pytest.fixture
def llmos(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Run command lines against a fake client."""
    for variable in ("LLMOS_HOME", "LLMOS_NAME", "LLMOS_DEBUG", "_LLMOS_COMPLETE"):
        monkeypatch.delenv(variable, raising=False)
    return terminal(monkeypatch)
