"""Short texts with a title that contain all given keywords.

A text has a title line and three to five sentences: an opening, one sentence for each keyword in
the order given, an ending. About one text in twelve has a made-up word among its keywords, so that
a word never seen is copied too.

The split. Pairs of keywords are held out, one in ten: no training text holds both words of such a
pair; each held-out text has at least one such pair.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import combinations
from random import Random

from tools.embedded_model.grammar import fill, is_held_out, sentence
from tools.embedded_model.story_words import (
    ENDINGS,
    HEROES,
    KEYWORDS,
    OPENINGS,
    SENTENCES,
    SYLLABLES,
    TITLES,
)

KIND = {word: kind for kind, words in KEYWORDS.items() for word in words}
VOCABULARY = tuple(KIND)
MADE_UP_SHARE = 0.08
MIN_SENTENCES, MAX_SENTENCES = 3, 5


@dataclass(frozen=True)
class Story:
    """Keywords and one text that fulfils them; there are many others as good."""

    keywords: tuple[str, ...]
    title: str
    text: str


def has_new_pair(keywords: tuple[str, ...]) -> bool:
    """Say whether two of the keywords are a held-out pair."""
    pairs = combinations(sorted(keywords), 2)
    return any(is_held_out("keywords", *pair) for pair in pairs)


def draw_story(random: Random, split: str = "train") -> Story:
    """Return one story of a split."""
    while True:
        keywords = random.sample(VOCABULARY, random.choice((2, 2, 3, 3, 4)))
        if split == "train" and random.random() < MADE_UP_SHARE:
            keywords[random.randrange(len(keywords))] = made_up_word(random)
        if has_new_pair(tuple(keywords)) == (split != "train"):
            return write_story(tuple(keywords), random)


def made_up_word(random: Random) -> str:
    """Return a word of two or three syllables that means nothing."""
    return "".join(random.choices(SYLLABLES, k=random.choice((2, 3))))


def write_story(keywords: tuple[str, ...], random: Random) -> Story:
    """Write the text, sentence by sentence."""
    hero, he = random.choice(HEROES)
    values = {"hero": hero, "he": he, "K1": keywords[0].title(), "K2": keywords[1].title()}
    sentences = [line.replace("{k}", word) for word, line in choose_lines(keywords, random)]
    if len(sentences) < 4:
        sentences.insert(0, random.choice(OPENINGS))
    sentences.append(random.choice(ENDINGS))
    text = " ".join(sentence(articles(fill(line, values))) for line in sentences)
    return Story(keywords, fill(random.choice(TITLES), values), text)


def choose_lines(keywords: tuple[str, ...], random: Random) -> list[tuple[str, str]]:
    """Choose a sentence for each keyword, none twice."""
    lines: list[tuple[str, str]] = []
    for word in keywords:
        used = {line for _, line in lines}
        choices = [line for line in SENTENCES[KIND.get(word, "unknown")] if line not in used]
        lines.append((word, random.choice(choices)))
    return lines


def articles(line: str) -> str:
    """Write ``an`` before a vowel."""
    return re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", line)


def coverage(keywords: tuple[str, ...], answer: str) -> float:
    """Return the share of the keywords that the text below the title contains as words."""
    _, _, body = answer.strip().partition("\n")
    words = set(re.findall(r"[a-z]+", body.lower()))
    return sum(word in words for word in keywords) / len(keywords)


def is_well_formed(answer: str) -> bool:
    """Say whether an answer is a title line and three to five sentences."""
    title, _, body = answer.strip().partition("\n")
    count = len(re.findall(r"[.!?](?:\s|$)", body))
    is_title = 0 < len(title) <= 60 and title[0].isupper() and not title.endswith(".")
    return is_title and MIN_SENTENCES <= count <= MAX_SENTENCES
