"""The entry point of the command `llmos`.

Apart from actors/cli/app.py so that the collector is calmed before anything large is imported:
its passes over the modules' objects would take a tenth of a short command's time.
"""

from __future__ import annotations

import gc

# Garbage of a command line is little; `top` and `logs -f` make a few hundred cycles a minute.
GC_THRESHOLDS = (50_000, 20, 100)


def main() -> None:
    """Run the command line and end the process with its exit code."""
    gc.set_threshold(*GC_THRESHOLDS)
    # Imported here: see the module head.
    from actors.cli.app import run

    run()
