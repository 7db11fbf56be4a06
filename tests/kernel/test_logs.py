"""kernel/host/logs.py: what goes to the file, and what to the terminal."""

from __future__ import annotations

import io

import pytest
import structlog

from kernel.host.logs import IS_SAID, LogWriter


@pytest.mark.parametrize(("is_said", "num_shown"), [(False, 1), (True, 0)])
def test_what_the_terminal_is_told_otherwise_goes_to_the_file_only(
    is_said: bool, num_shown: int
) -> None:
    file, terminal = io.StringIO(), io.StringIO()
    event = {"event": "kernel_ended", "level": "error", IS_SAID: is_said}

    with pytest.raises(structlog.DropEvent):
        LogWriter(file, terminal)(None, "error", event)

    assert file.getvalue() == '{"event": "kernel_ended", "level": "error"}\n'
    assert terminal.getvalue().count("kernel_ended") == num_shown
