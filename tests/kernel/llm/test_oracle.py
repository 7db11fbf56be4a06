"""The histories notice a scheduler that is wrong: each planted bug is found within a few."""

from __future__ import annotations

from typing import Any

import pytest

from kernel.llm.batch import Batch
from kernel.llm.draft import Draft
from kernel.llm.flight import Flight
from kernel.llm.shared import Shared
from kernel.llm.siblings import Siblings
from tests.kernel.llm.storm import Storm


def run_histories() -> None:
    for seed in range(20):
        Storm(seed).run(250)


def nothing(*_: Any, **__: Any) -> None:
    pass


@pytest.mark.parametrize(
    ("where", "name", "planted"),
    [
        (Draft, "copy_out", nothing),
        (Draft, "copy_in", nothing),
        (Draft, "append_blocks", nothing),
        (Draft, "copy", nothing),
        (Siblings, "leave", nothing),
        (Shared, "void_steps", nothing),
        (Flight, "set_left", nothing),
        (Flight, "set_gone", nothing),
        (Batch, "holders", lambda batch: batch.tasks),
        (Shared, "is_leaving", lambda *_: False),
    ],
)
def test_a_planted_bug_is_found(
    monkeypatch: pytest.MonkeyPatch, where: type, name: str, planted: Any
) -> None:
    monkeypatch.setattr(where, name, planted)

    with pytest.raises(Exception):  # noqa: B017, PT011  # whatever notices first
        run_histories()
