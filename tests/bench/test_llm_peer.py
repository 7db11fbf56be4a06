"""llama.cpp as a peer: what of it can be said without it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bench import llm_peer
from bench.llm_engine import in_process
from bench.llm_workload import CONTEXT, workload


def test_a_peer_that_is_not_installed_is_left_out_with_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(llm_peer, "NEEDED", ("json", "no_such_package"))

    assert math.isnan(in_process(llm_peer.NAME, "small", 8))

    assert capsys.readouterr().err == "llama.cpp is left out: no_such_package missing\n"


def test_weights_have_the_names_that_llama_cpp_reads() -> None:
    assert llm_peer.gguf_name("model.embed_tokens.weight") == "token_embd.weight"
    assert llm_peer.gguf_name("model.norm.weight") == "output_norm.weight"
    assert llm_peer.gguf_name("model.layers.11.mlp.down_proj.weight") == "blk.11.ffn_down.weight"


def test_a_heads_rows_stand_in_the_pairs_that_are_rotated_together() -> None:
    halves = np.arange(8)[:, None]  # two heads of four rows: the first half turns with the second

    assert llm_peer.interleaved(halves, 2)[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


def test_every_request_fits_the_context_and_has_tokens_of_its_own() -> None:
    works, others = workload(4096), workload(4096, draw=1)

    assert max(len(work.ids) + work.output for work in works) <= CONTEXT
    assert [len(work.ids) for work in works] == [len(work.ids) for work in others]
    assert works[0].ids != others[0].ids
