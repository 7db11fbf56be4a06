"""The corpus of the embedded model: reproducible, and its held-out part never trained on."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from itertools import combinations
from pathlib import Path
from random import Random

import pytest

from tools.embedded_model import corpus, stories, tickets, translation
from tools.embedded_model.grammar import choose, fill, is_held_out
from tools.embedded_model.ticket_intents import INTENTS, TEAMS

TASKS = ("triage", "to English", "to Chinese", "story", "reply", "summary")
# A change of the grammar changes these and makes the model card untrue: train again.
FIRST_2000 = "b99107fe28d0fecd8fba39fa2f1bc6e23a78a91ee382ae4450a680f71efd1fb3"
FIRST_500_HELD_OUT = "f736da9fd6b6d81321fd390ca00385af9e562ac63443b4c529fc0b0371329a9b"


def test_a_seed_gives_the_corpus_that_the_model_was_trained_on() -> None:
    assert corpus.digest(1, 2000) == FIRST_2000
    assert corpus.digest(1, 500, "held out") == FIRST_500_HELD_OUT
    assert corpus.digest(2, 500) != corpus.digest(1, 500)


@pytest.mark.parametrize("task", TASKS)
def test_no_held_out_sample_is_trained_on(task: str) -> None:
    random = Random(5)
    trained = {corpus.draw_item(task, random, "train") for _ in range(1500)}
    held_out = {item for item, _ in corpus.held_out(task, 300)}

    assert held_out.isdisjoint(trained)
    assert len(held_out) == 300


def test_held_out_tickets_have_a_form_and_values_that_training_never_has() -> None:
    random = Random(3)
    drawn: dict[str, set[tuple[str, ...]]] = {}
    for intent in INTENTS:
        for _ in range(150):
            skeleton = choose(tickets.choose_core(intent, random, "train"), random)
            names = tickets.slots(intent.summary)
            values = {name: tickets.draw_value(name, random) for name in names}
            split = tickets.split_of(intent, skeleton, values)
            drawn.setdefault(split, set()).add((intent.name, skeleton, *values.values()))

    forms = {split: {key[:2] for key in keys} for split, keys in drawn.items()}
    values = {split: {(key[0], *key[2:]) for key in keys} for split, keys in drawn.items()}
    assert forms["train"] & forms["held out"] == set()
    assert values["train"] & values["held out"] == set()
    assert len(forms["held out"]) > 20


def test_an_unseen_wording_is_in_no_ticket_of_the_other_splits() -> None:
    random = Random(9)
    own = {tickets.choose_core(intent, random, "unseen wordings") for intent in INTENTS}

    for intent in INTENTS:
        others = {tickets.choose_core(intent, random, "train") for _ in range(200)}
        assert not any(intent.facts[-1] in core for core in others)
    assert len(own) == len(INTENTS)


def test_every_summary_and_reply_names_the_key_of_its_ticket() -> None:
    random = Random(2)
    for split in tickets.SPLITS:
        for _ in range(600):
            ticket = tickets.draw_ticket(random, split)

            assert ticket.keys
            for key in ticket.keys:
                assert key in ticket.text
                assert key in ticket.summary
                assert key in ticket.reply


def test_all_teams_and_urgencies_are_about_as_frequent() -> None:
    random = Random(4)
    drawn = [tickets.draw_ticket(random) for _ in range(4000)]
    teams = Counter(ticket.team for ticket in drawn)
    urgencies = Counter(ticket.urgency for ticket in drawn)

    assert set(teams) == set(TEAMS)
    assert min(teams.values()) > 4000 / 5 * 0.7
    assert set(urgencies) == {"low", "normal", "high"}
    assert min(urgencies.values()) > 4000 / 3 * 0.7


def test_a_split_that_does_not_exist_is_refused() -> None:
    for draw in (tickets.draw_ticket, translation.draw_pair):
        with pytest.raises(ValueError, match="no split 'test'"):
            draw(Random(1), "test")


def test_each_sentence_has_one_translation_in_each_direction() -> None:
    random = Random(6)
    english: dict[str, str] = {}
    chinese: dict[str, str] = {}
    for _, pattern in random.choices(translation.SENTENCES, k=20_000):
        left, right, _ = translation.derive(pattern, random)

        assert english.setdefault(left, right) == right
        assert chinese.setdefault(right, left) == left


def test_texts_of_the_kinds_that_are_learnt_last_are_never_held_out_ones() -> None:
    random = Random(14)
    twins = 0
    for _ in range(3000):
        pair = translation.draw_hard_pair(random)
        sentences = re.findall(r"[^。！？]+[。！？]", pair.chinese)
        held_out = [one for one in sentences if is_held_out("sentence", one, one_in=12)]
        twins += "一样" in pair.chinese

        assert len(sentences) == len(pair.topics)
        assert all(one in dict(translation.FIXED) for one in held_out)
    assert twins > 3000 / len(translation.SENTENCES) * 3


def test_patterns_with_two_words_of_a_kind_are_the_hard_ones() -> None:
    chinese = {pattern.partition(" = ")[0] for _, pattern in translation.TWINS}

    assert {"{city}和{city2}一样{warmth}。", "{who}认识{whose}的{relative}。"} < chinese
    assert "{who}喜欢{act}。" not in chinese


def test_each_word_of_the_translator_is_trained_in_some_pattern() -> None:
    random = Random(10)
    trained: set[translation.Word] = set()
    for _ in range(60):
        for _, pattern in translation.SENTENCES:
            chinese, _, choices = translation.derive(pattern, random)
            if translation.split_of(pattern, chinese, choices) == "train":
                trained |= set(choices.words.values())

    every = {word for words in translation.LEXICON.values() for word in words}
    assert every - trained == set()


def test_no_slot_stays_open_and_no_agreement_mark_is_left() -> None:
    random = Random(8)
    for _, pattern in translation.SENTENCES:
        for _ in range(30):
            left, right, _ = translation.derive(pattern, random)

            assert not set("{}<>#()") & set(left + right), (left, right)


def test_a_held_out_story_has_a_pair_of_words_no_trained_story_has() -> None:
    random = Random(7)
    trained = set()
    for _ in range(3000):
        words = stories.draw_story(random).keywords
        trained |= {frozenset(pair) for pair in combinations(words, 2)}

    for _ in range(300):
        words = stories.draw_story(random, "held out").keywords
        new = [pair for pair in combinations(sorted(words), 2) if is_held_out("keywords", *pair)]
        assert new
        assert not trained & {frozenset(pair) for pair in new}


def test_gold_stories_reach_the_score_they_are_measured_by() -> None:
    for item, exchange in corpus.held_out("story", 300):
        assert isinstance(item, stories.Story)

        assert stories.coverage(item.keywords, exchange.answer) == 1
        assert stories.is_well_formed(exchange.answer)
    assert stories.coverage(("river", "key"), "Title\nThe monkey saw a river.") == 0.5
    assert not stories.is_well_formed("no title\nOne. Two. Three.")
    assert not stories.is_well_formed("A Title\nOne. Two.")


def test_the_corpus_needs_no_library_of_the_engine() -> None:
    program = (
        "import sys, tools.embedded_model.corpus\n"
        "print(*{'torch', 'transformers', 'tokenizers', 'numpy'} & sys.modules.keys())"
    )
    root = Path(corpus.__file__).resolve().parents[2]

    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == []


def test_templates_expand_to_every_alternative() -> None:
    random = Random(1)

    assert {choose("a [b|c [d|e]]", random) for _ in range(100)} == {"a b", "a c d", "a c e"}
    assert fill("{x} and {y}", {"x": "1", "y": "2"}) == "1 and 2"
    with pytest.raises(KeyError):
        fill("{x}", {})


def test_a_held_out_sentence_is_new_but_each_of_its_words_is_trained_in_its_pattern() -> None:
    random = Random(12)
    trained: dict[str, set[tuple[str, str]]] = {"train": set(), "held out": set()}
    sentences: dict[str, set[str]] = {"train": set(), "held out": set()}
    for _, pattern in random.choices(translation.SENTENCES, k=60_000):
        chinese, _, choices = translation.derive(pattern, random)
        split = translation.split_of(pattern, chinese, choices)
        if split in sentences:
            sentences[split].add(chinese)
            trained[split] |= {(pattern, word.chinese) for word in choices.words.values()}

    assert sentences["train"] & sentences["held out"] == set()
    assert len(sentences["held out"]) > 1000
    missing = trained["held out"] - trained["train"]
    assert len(missing) <= 0.01 * len(trained["held out"]), missing
