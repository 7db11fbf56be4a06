"""Choosing tokens, against the library's own filters and against counting."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from actors.torch_engine import noise, sampling
from actors.torch_engine.grammar import Grammars
from actors.torch_engine.options import options_of
from actors.torch_engine.sampling import Sampler
from actors.torch_engine.slots import Request
from tests.trials import trials

VOCAB = 600


def request(known: list[int] = (), position: int | None = None, **options: Any) -> Request:  # type: ignore[assignment]
    tokens = np.array([*known, 0], np.int32)
    made = Request(
        slot=0,
        number=1,
        tokens=tokens,
        num_prompt=len(known),
        num_known=len(known),
        limit=99,
        options=options_of(options),  # type: ignore[arg-type]
        is_streamed=False,
        sent_chars=0,
        has_tools=False,
    )
    made.memory["at"] = len(known) if position is None else position
    return made


def library_chances(logits: torch.Tensor, known: list[int], options: dict[str, Any]) -> Any:
    """Return the distribution that ``generate`` would draw from."""
    steps = LogitsProcessorList()
    if options.get("repetition_penalty", 1.0) != 1.0:
        steps.append(RepetitionPenaltyLogitsProcessor(options["repetition_penalty"]))
    steps.append(TemperatureLogitsWarper(options["temperature"]))
    if options.get("top_k"):
        steps.append(TopKLogitsWarper(options["top_k"]))
    if options.get("top_p", 1.0) < 1:
        steps.append(TopPLogitsWarper(options["top_p"]))
    if options.get("min_p"):
        steps.append(MinPLogitsWarper(options["min_p"]))
    return steps(torch.tensor([known]), logits[None].clone())[0].softmax(-1)


def sample(rows: list[tuple[torch.Tensor, Request]]) -> Any:
    sampler = Sampler("test", Grammars(None, VOCAB, ()))
    requests = [request for _, request in rows]
    plain = np.array([request.options.is_plain for request in requests])
    positions = np.array([request.memory["at"] for request in requests])
    return sampler.sample(torch.stack([logits for logits, _ in rows]), requests, plain, positions)


filters = st.fixed_dictionaries(
    {"temperature": st.sampled_from([0.3, 1.0, 2.5])},
    optional={
        "top_k": st.sampled_from([1, 5, 300]),
        "top_p": st.sampled_from([0.05, 0.5, 0.97, 0.9999]),
        "min_p": st.sampled_from([0.01, 0.3]),
        "repetition_penalty": st.sampled_from([0.7, 1.4]),
    },
)


@settings(max_examples=trials(60), deadline=None)
@given(options=filters, seed=st.integers(0, 2**32), sharp=st.sampled_from([0.2, 3.0]))
def test_what_is_drawn_is_the_inverse_of_the_librarys_distribution(
    options: dict[str, Any], seed: int, sharp: float
) -> None:
    logits = torch.randn(VOCAB, generator=torch.Generator().manual_seed(seed)) * sharp
    known = [3, 4, 5, 3]
    chances = library_chances(logits, known, options).double()

    made = request(known, seed=seed, **options)
    token = int(sample([(logits, made)]).tokens[0])

    draw = float(noise.uniform(np.array([seed], np.uint64), np.array([4], np.uint64))[0])
    is_ranked = options.get("top_k") or options.get("top_p", 1.0) < 1
    order = chances.argsort(descending=True, stable=True) if is_ranked else torch.arange(VOCAB)
    mass = chances[order].cumsum(0)
    at = int((order == token).nonzero()[0, 0])
    low = float(mass[at - 1]) if at else 0.0
    assert chances[token] > 0
    assert low - 1e-5 <= draw <= float(mass[at]) + 1e-5


def test_a_row_is_chosen_alike_whoever_is_beside_it() -> None:
    random = torch.Generator().manual_seed(1)
    logits = torch.randn(40, VOCAB, generator=random)
    kinds: list[dict[str, Any]] = [
        {},
        {"temperature": 1.0},
        {"temperature": 1.0, "top_p": 0.9},
        {"temperature": 0.8, "top_k": 20, "min_p": 0.05},
        {"repetition_penalty": 1.3},
    ]
    rows = [(logits[i], request([1, 2], seed=i, **kinds[i % 5])) for i in range(40)]

    together = sample(rows).tokens.tolist()
    alone = [
        int(sample([(logits[i], request([1, 2], seed=i, **kinds[i % 5]))]).tokens[0])
        for i in range(40)
    ]

    assert together == alone


def test_frequencies_are_the_chances() -> None:
    logits = torch.log(torch.tensor([0.5, 0.3, 0.15, 0.05]))
    counts = np.zeros(4)

    rows = [(logits, request([1], position=i, temperature=1.0, seed=9)) for i in range(4000)]
    for token in sample(rows).tokens.tolist():
        counts[token] += 1

    assert np.abs(counts / 4000 - [0.5, 0.3, 0.15, 0.05]).max() < 0.03


def test_noise_depends_on_seed_and_position_alone_and_is_even() -> None:
    seeds = np.repeat(np.arange(50, dtype=np.uint64), 50)
    positions = np.tile(np.arange(50, dtype=np.uint64), 50)

    numbers = noise.uniform(seeds, positions)

    assert np.array_equal(numbers[::-1], noise.uniform(seeds[::-1], positions[::-1]))
    assert len(np.unique(numbers)) == 2500
    assert np.abs(np.histogram(numbers, 10, (0, 1))[0] - 250).max() < 75


def test_few_candidates_are_looked_at_again_when_top_p_needs_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logits = torch.zeros(VOCAB)
    options = {"temperature": 1.0, "top_p": 0.99}
    wide = [int(sample([(logits, request([1], seed=s, **options))]).tokens[0]) for s in range(50)]
    monkeypatch.setattr(sampling, "CANDIDATES", VOCAB)

    again = [int(sample([(logits, request([1], seed=s, **options))]).tokens[0]) for s in range(50)]

    assert wide == again
    assert len(set(wide)) > 30


def test_logprobs_are_the_models_own() -> None:
    logits = torch.randn(VOCAB, generator=torch.Generator().manual_seed(3))
    made = request([1], temperature=2.0, top_k=3, logprobs=2, seed=4)

    result = sample([(logits, made)])

    entry = result.logprobs[0]
    logs = logits.log_softmax(-1)
    assert entry["id"] == result.tokens[0]
    assert entry["logprob"] == pytest.approx(float(logs[entry["id"]]))
    assert [i for i, _ in entry["top"]] == logs.topk(2).indices.tolist()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_logits_that_are_no_numbers_fail_their_row_alone(bad: float) -> None:
    logits = torch.zeros(VOCAB)
    broken = logits.clone()
    broken[7] = bad

    rows = [(logits, request([1])), (broken, request([1])), (logits, request([1], temperature=1.0))]
    result = sample(rows)

    assert result.tokens[1] == -1
    assert list(result.failed) == [1]
    assert result.failed[1].code == 310
