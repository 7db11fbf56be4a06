"""The entry point of the command `llmos`.

Apart from actors/cli/app.py so that the collector is calmed before anything large is imported:
its passes over the modules' objects would take a tenth of a short command's time.
"""

from __future__ import annotations

import gc
import os
import sys

# Garbage of a command line is little; `top` and `logs -f` make a few hundred cycles a minute.
GC_THRESHOLDS = (50_000, 20, 100)
INTERRUPTED = 130  # actors/cli/exits.py, which may not have been read yet


def main() -> None:
    """Run the command line and end the process with its exit code."""
    gc.set_threshold(*GC_THRESHOLDS)
    open_streams()
    try:
        # Imported here: see the module head.
        from actors.cli.app import run

        run()
    except KeyboardInterrupt:  # while modules were being read; commands say it themselves
        sys.exit(INTERRUPTED)


def open_streams() -> None:
    """Give a command whose output was closed (``>&-``) one that nobody reads."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  open to the end
