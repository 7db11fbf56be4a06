"""A zygote whose agents are not the SDK's: ``spec["target"]`` is a line of Python they run.

For tests of processes and launching that need no kernel and no channel.
"""

import sys
import types
from typing import Any


def run_agent(start: Any) -> int:
    scope: dict[str, Any] = {"start": start, "code": 0}
    exec(start.spec["target"], scope)
    return int(scope["code"])


def main() -> None:
    stand_in = types.ModuleType("actors.process")
    stand_in.run_agent = run_agent  # type: ignore[attr-defined]
    sys.modules["actors.process"] = stand_in
    from actors.zygote import main as zygote_main

    zygote_main()
