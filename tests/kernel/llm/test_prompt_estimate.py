"""The estimate of a remote prompt: high rather than low, and of every form an input has."""

from __future__ import annotations

from ipc.llm import LlmInput
from kernel.llm.prompt_estimate import TOKENS_PER_IMAGE, estimate_tokens


def test_a_usual_sentence_is_estimated_above_what_it_has() -> None:
    text = "The quick brown fox jumps over the lazy dog."  # 10 tokens in cl100k

    assert 10 <= estimate_tokens(LlmInput(prompt=text)) <= 20


def test_a_character_of_three_bytes_counts_as_a_token() -> None:
    assert estimate_tokens(LlmInput(prompt="机器翻译")) == 4


def test_all_of_a_conversation_counts() -> None:
    short = estimate_tokens(LlmInput(messages=[{"role": "user", "content": "hello"}]))
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {}}}]

    assert short < estimate_tokens(LlmInput(messages=[{"role": "user", "content": "hello " * 9}]))
    assert short < estimate_tokens(
        LlmInput(messages=[{"role": "user", "content": "hello"}], tools=tools)
    )


def test_a_picture_counts_by_itself_and_not_by_its_bytes() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:" + "A" * 300_000}}
    content = [{"type": "text", "text": "what is it?"}, picture]

    estimate = estimate_tokens(LlmInput(messages=[{"role": "user", "content": content}]))

    assert TOKENS_PER_IMAGE < estimate < 2 * TOKENS_PER_IMAGE


def test_an_odd_input_has_an_estimate_too() -> None:
    assert estimate_tokens(LlmInput()) == 1
    assert estimate_tokens(LlmInput(messages=[{"content": None}, {"content": [7, "x"]}])) > 1
