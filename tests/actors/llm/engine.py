"""An engine for tests with real processes: it answers with the prompt's last line in capitals.

It notes each completion that it begins in the file that SCRIPTED_LOG names. Its tokens are the
bytes of a text, so that a process that takes another's place reads them as that one did.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from actors.scripted_engine import ScriptedEngine
from actors.scripted_model import ScriptedModel, ScriptedRequest

DRIVER = "tests.actors.llm.engine:CapitalEngine"


def _answer(request: ScriptedRequest) -> str:
    said = request.messages[-1]["content"] if request.messages else request.prompt
    if log := os.environ.get("SCRIPTED_LOG"):
        with Path(log).open("a") as file:
            file.write(f"{said}\n")
    return said.upper()


class ByteModel(ScriptedModel):
    """Tokens are bytes."""

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(ids).decode()


class CapitalEngine(ScriptedEngine):
    """See the module head."""

    model = ByteModel()
    model.step_s = 0.005
    model.reply_with(_answer)
