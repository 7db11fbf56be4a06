"""Every architecture through our blocks gives what the library gives, token for token."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from tests.torch_engine.models import ARCHITECTURES, VOCAB, greedy, logits_of
from tests.torch_engine.scheduler import Scheduler, assembled

PROMPTS = [3, 17, 30, 8]
OUTPUT = 14


def prompts(seed: int = 0) -> list[list[int]]:
    random = np.random.default_rng(seed)
    return [random.integers(3, VOCAB, length).tolist() for length in PROMPTS]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_greedy_tokens_are_those_of_generate_alone_and_mixed(name: str) -> None:
    scheduler = Scheduler(assembled(name))
    expected = [greedy(name, prompt, OUTPUT) for prompt in prompts()]

    alone = scheduler.submit(prompts()[1], OUTPUT)
    scheduler.run_all()
    mixed = [scheduler.submit(prompt, OUTPUT) for prompt in prompts()]
    scheduler.run_all(chunk=7)

    assert alone.completion == expected[1]
    assert [job.completion for job in mixed] == expected
    assert len({token for tokens in expected for token in tokens}) > 9, "the model chooses nothing"


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt2", "opt", "mixtral"])
def test_greedy_tokens_survive_preemption_swap_and_fork(name: str) -> None:
    scheduler = Scheduler(assembled(name, host_kv_bytes=1 << 19))
    first, second, third, _ = (scheduler.submit(prompt, OUTPUT) for prompt in prompts())
    for job in (first, second, third):
        scheduler.admit(job)
    scheduler.step([(first, 99), (second, 5), (third, 99)])
    scheduler.step([(second, 99)], [first, third])

    scheduler.preempt(first)
    scheduler.swap_out(third)
    fork = scheduler.fork(second, OUTPUT - 1)
    scheduler.run_all()

    expected = [greedy(name, prompt, OUTPUT) for prompt in prompts()]
    assert [first.completion, second.completion, third.completion] == expected[:3]
    assert second.completion[:1] + fork.completion == expected[1]


@pytest.mark.parametrize("name", ["gemma2", "gemma3", "gpt_oss", "mistral_sliding"])
def test_logits_are_those_of_the_library_beyond_the_sliding_window(name: str) -> None:
    ids = np.random.default_rng(3).integers(3, VOCAB, 40).tolist()
    scheduler = Scheduler(assembled(name))
    expected = logits_of(name, ids).log_softmax(-1)

    job = scheduler.submit(ids, 1, logprobs=8)
    scheduler.run_all(chunk=11)

    top = torch.tensor([value for _, value in job.logprobs[0]["top"]])
    assert torch.allclose(top, expected[-1].topk(8).values, atol=1e-4)


def test_a_prefix_computed_by_another_is_not_computed_again() -> None:
    scheduler = Scheduler(assembled("llama"))
    prompt = prompts()[2]
    first = scheduler.submit(prompt, OUTPUT)
    scheduler.admit(first)
    scheduler.step([(first, 99)])

    second = scheduler.submit([*prompt, 5, 6], OUTPUT)
    scheduler.share(second, first, len(prompt))
    scheduler.run_all()

    assert first.completion == greedy("llama", prompt, OUTPUT)
    assert second.completion == greedy("llama", [*prompt, 5, 6], OUTPUT)


@pytest.mark.parametrize("name", ["llama", "gemma2", "mistral_sliding", "gpt_oss", "opt"])
def test_attention_in_torch_operations_alone_gives_the_same(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from actors.torch_engine import kv_store, step
    from actors.torch_engine.device_attention import DeviceAttention

    monkeypatch.setattr(step, "CpuAttention", lambda store, threads: DeviceAttention(store))
    monkeypatch.setattr(kv_store, "CPU_LAYOUT", frozenset[str]())
    scheduler = Scheduler(assembled(name))

    mixed = [scheduler.submit(prompt, OUTPUT) for prompt in prompts()]
    scheduler.run_all(chunk=7)

    assert [job.completion for job in mixed] == [greedy(name, p, OUTPUT) for p in prompts()]
