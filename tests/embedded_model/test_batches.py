"""What a training step sees: the same for the same seed, wherever a run is taken up."""

from __future__ import annotations

from itertools import islice

import pytest

from actors.embedded_model import PATH

pytest.importorskip("torch")
pytest.importorskip("tokenizers")

from tokenizers import Tokenizer

from tools.embedded_model import batches


def test_a_run_that_is_taken_up_sees_what_it_would_have_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batches, "POOL_ROWS", 64)
    tokenizer = Tokenizer.from_file(str(PATH / "tokenizer.json"))

    def stream(first_pool: int, skip: int) -> list[list[list[int]]]:
        found = batches.stream_batches(
            tokenizer, 7, 512, first_pool=first_pool, skip=skip, workers=2
        )
        return [ids.tolist() for ids, _ in islice(found, 12)]

    whole = stream(136, 0)
    second = len(batches.pool_batches(tokenizer, 7, 136, 512))

    assert stream(136, 5)[:7] == whole[5:]
    assert stream(138, 0)[: 12 - second] == whole[second:]
    assert stream(137, 0) != whole
