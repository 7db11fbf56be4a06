"""Set up structlog for the kernel process: JSON lines to its file, pretty on a terminal.

Called once, by kernel/__main__.py. Everybody else only asks structlog for a logger.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, TextIO

from kernel.host.structured_log import structlog

IS_SAID = "is_said"  # of an event: the terminal is told otherwise; it goes to the file only


class LogWriter:
    """The last processor: writes each event, to the file and to the terminal if there is one."""

    def __init__(self, file: TextIO, terminal: TextIO | None) -> None:
        self._file = file
        self._terminal = terminal
        self._pretty = structlog.dev.ConsoleRenderer(colors=terminal is not None)

    def __call__(self, logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
        """Write the event. A log that cannot be written (full disk) is not a reason to end."""
        is_said = event.pop(IS_SAID, False)
        try:
            self._file.write(json.dumps(event, default=str) + "\n")
            if self._terminal is not None and not is_said:
                self._terminal.write(str(self._pretty(logger, method, event)) + "\n")
        except OSError:
            pass
        raise structlog.DropEvent


def configure_logs(path: Path, level: str) -> None:
    """Send the process's log to ``path`` (appended) and, if stderr is a terminal, there too.

    Raises OSError if the file cannot be opened.
    """
    file = open(path, "a", buffering=1, encoding="utf-8", opener=_private)  # noqa: SIM115
    terminal = sys.stderr if sys.stderr.isatty() else None
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=False),
            structlog.processors.format_exc_info,
            LogWriter(file, terminal),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        cache_logger_on_first_use=True,
    )


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
