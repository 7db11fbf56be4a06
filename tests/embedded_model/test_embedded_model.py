"""The model that ships: what it is, and that it does on unseen inputs what its card states.

The accuracies are checked on fewer samples than the card's, against the targets and not against
the card, so that chance does not fail the test.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from actors.embedded_model import PATH

pytest.importorskip("torch")
pytest.importorskip("transformers")

from tools.embedded_model.evaluation import Answerer, accuracy, evaluate
from tools.embedded_model.formats import Exchange

MAX_BYTES = 8_000_000
TARGETS = {"triage": 97.0, "story": 90.0, "reply": 80.0}
SAMPLES = {"triage": 200, "story": 40, "reply": 60}
TRANSLATION_TARGET = 97.0  # both directions together
TRANSLATIONS = 100  # each

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def answerer() -> Answerer:
    return Answerer(PATH)


def test_the_folder_is_small_and_plain() -> None:
    files = {path.name for path in Path(PATH).iterdir() if path.suffix in {".json", ".safetensors"}}
    size = sum(path.stat().st_size for path in Path(PATH).iterdir() if path.is_file())
    config = json.loads((PATH / "config.json").read_text())

    assert files == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert size <= MAX_BYTES
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["max_position_embeddings"] >= 1024
    assert config["tie_word_embeddings"] is True


@pytest.mark.parametrize("is_chat", [False, True], ids=["plain", "chat"])
@pytest.mark.parametrize("task", TARGETS)
def test_held_out_accuracy_reaches_the_target(task: str, is_chat: bool, answerer: Answerer) -> None:
    count = SAMPLES[task]
    answered = evaluate(answerer, task, count, is_chat=is_chat)

    assert len(answered) == count
    assert accuracy(answered) >= TARGETS[task]


@pytest.mark.parametrize("is_chat", [False, True], ids=["plain", "chat"])
def test_held_out_translations_reach_the_target(is_chat: bool, answerer: Answerer) -> None:
    both = [
        accuracy(evaluate(answerer, task, TRANSLATIONS, is_chat=is_chat))
        for task in ("to English", "to Chinese")
    ]

    assert sum(both) / 2 >= TRANSLATION_TARGET


def test_any_text_has_ids_and_the_ids_are_that_text(answerer: Answerer) -> None:
    tokenizer = answerer.tokenizer
    for text in ("", "Ünïcödé 😀 \t\n 漢字 العربية", "\x00\x7f", "a" * 500, "order 48213, $5.90"):
        ids = tokenizer(text)["input_ids"]

        assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text
        assert all(0 <= token < len(tokenizer) for token in ids)
    every = tokenizer.decode(list(range(len(tokenizer))))
    assert isinstance(every, str)


def test_the_same_prompt_gets_the_same_answer_alone_and_in_a_batch(answerer: Answerer) -> None:
    exchanges = [
        Exchange("to Chinese", "English: Good morning!\nChinese:", " 早上好！\n"),
        Exchange("triage", "Ticket: My kettle does not turn on.\nTeam:", " technical\n"),
    ]

    together = answerer.answer(exchanges)
    alone = [answerer.answer([exchange])[0] for exchange in exchanges]

    assert together == alone
    assert together[0].strip() == "早上好！"
    assert together[1].startswith(" technical\nUrgency: normal")


def test_a_conversation_goes_on_over_several_turns(answerer: Answerer) -> None:
    messages = [
        {"role": "system", "content": "You are a translator."},
        {"role": "user", "content": "Translate into Chinese: Thank you."},
        {"role": "assistant", "content": "谢谢你。"},
        {"role": "user", "content": "Translate into English: 请给我一杯咖啡。"},
    ]
    text = answerer.tokenizer.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=True
    )

    answer = answerer.answer([Exchange("to English", text, "")])[0]

    assert answer.strip() == "Please give me a cup of coffee."
