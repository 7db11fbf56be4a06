"""Chinese and English sentence pairs out of the phrase grammar, both directions.

A pattern is expanded in both languages at once: a slot is one choice, written twice. One text has
one or two sentences.

The split. Sentences are held out, one in twelve: training has each of their words in that pattern,
but not this combination of them. Pairs of (pattern, word) are held out besides, one in twenty:
training has the pattern with other words and the word in other patterns, never both together; all
sentences with such a pair are the split "unseen pairs", which is harder. All sentences of a text,
greetings apart, are of one split.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from random import Random

from tools.embedded_model.grammar import is_held_out, sentence
from tools.embedded_model.translation_rules import GREETINGS, PARTS, PATTERNS, SUBJECTS, WORDS

_SLOT = re.compile(r"\{([a-z]+)(\d?)(#?)(?::(\w+))?\}")
_AGREEMENT = re.compile(r"<([^>]*)>")
_POSSESSIVE = {"I": "my", "you": "your", "he": "his", "she": "her", "we": "our", "they": "their"}
TWO_SENTENCES_SHARE = 0.25
HARD_PATTERN_SHARE = 0.5
HARD_TWO_SENTENCES_SHARE = 0.55
SPLITS = ("train", "held out", "unseen pairs")


@dataclass(frozen=True)
class Word:
    """A word in both languages: its classifier, its Chinese, its English forms."""

    classifier: str
    chinese: str
    english: tuple[str, ...]


@dataclass(frozen=True)
class Pair:
    """One text in both languages."""

    chinese: str
    english: str
    topics: tuple[str, ...]


def has_twins(pattern: str) -> bool:
    """Say whether a pattern has two words of a kind."""
    slots = _SLOT.findall(pattern)
    kinds = {kind for kind, *_ in slots}
    return any(index == "2" for _, index, *_ in slots) or {"who", "whose"} <= kinds


def read_word(entry: str) -> Word:
    """Read ``本=书 book/books``."""
    chinese, _, english = entry.partition(" ")
    classifier, _, chinese = chinese.rpartition("=")
    return Word(classifier, chinese, tuple(english.split("/")))


LEXICON = {name: tuple(map(read_word, text.split("|"))) for name, text in WORDS.items()}
FIXED = tuple(pair.partition(" = ")[::2] for pair in GREETINGS.split("|"))
MANY = tuple(word for word in LEXICON["number"] if word.chinese != "一")
SENTENCES = tuple((topic, pattern) for topic, rules in PATTERNS.items() for pattern in rules)
# Two words of a kind ({city} and {city2}, or a subject and an object with owners of their own) are
# told apart by their places only: what the model learns last.
TWINS = tuple(one for one in SENTENCES if has_twins(one[1]))


@dataclass
class Derivation:
    """The choices made for one sentence, shared by its two languages."""

    random: Random
    words: dict[str, Word] = field(default_factory=dict)
    person: int = 3

    def word(self, kind: str, index: str) -> Word:
        """Return the word of a slot, chosen at its first use; two of a kind differ."""
        key = kind + index
        if key not in self.words:
            choices = MANY if kind == "many" else LEXICON[kind]
            taken = {word.chinese for name, word in self.words.items() if name.strip("2") == kind}
            self.words[key] = self.random.choice([w for w in choices if w.chinese not in taken])
        return self.words[key]


def expand_parts(pattern: str, random: Random) -> tuple[str, str, int]:
    """Return a pattern with its shared parts and its subject written out, and the person."""
    chinese, english = pattern.split(" = ")
    for name, alternatives in PARTS.items():
        if "{" + name + "}" in pattern:
            left, right = random.choice(alternatives).split(" = ")
            chinese = chinese.replace("{" + name + "}", left)
            english = english.replace("{" + name + "}", right)
    if "{who}" not in pattern:
        return chinese, english, 3
    left, right, person = random.choice(SUBJECTS)
    if "{whose}" in pattern:  # the object has its own owner and relative
        chinese, english = second(chinese), second(english)
    possessive = _POSSESSIVE.get(right, f"{right}'s")
    english = english.replace("{whos}", possessive).replace("{who}", right)
    return chinese.replace("{who}", left), english, person


def second(text: str) -> str:
    """Make a pattern's owner and relative second ones, so that its subject may have its own."""
    return text.replace("{whose}", "{whose2}").replace("{relative}", "{relative2}")


def derive(pattern: str, random: Random) -> tuple[str, str, Derivation]:
    """Expand a pattern in both languages with the same choices."""
    left, right, person = expand_parts(pattern, random)
    choices = Derivation(random, person=person)
    return write_chinese(left, choices), write_english(right, choices), choices


def write_chinese(template: str, choices: Derivation) -> str:
    """Fill the slots with Chinese; ``{thing#}`` is the classifier of {thing}."""

    def written(match: re.Match[str]) -> str:
        kind, index, is_classifier, _ = match.groups()
        word = choices.word(kind, index)
        return word.classifier if is_classifier else word.chinese

    return _SLOT.sub(written, template)


def write_english(template: str, choices: Derivation) -> str:
    """Fill the slots with English, then agree the verbs and the articles."""

    def written(match: re.Match[str]) -> str:
        kind, index, _, form = match.groups()
        match kind:
            case "a":
                return "a(n)"
            case "jobs":
                noun = choices.word("job", "").english[0]
                return plural(noun) if is_group(template) else f"a(n) {noun}"
            case "hours":
                hour = choices.word("hour", "").english[0]
                return f"{hour} hour" if hour == "one" else f"{hour} hours"
        forms = choices.word(kind, index).english
        if form == "agree":
            return forms[1] if choices.person == 3 else forms[0]
        return forms[int(form or 0)]

    def agreed(match: re.Match[str]) -> str:
        forms = match[1].split("/")
        return forms[min(3 - choices.person, len(forms) - 1)]

    text = _AGREEMENT.sub(agreed, _SLOT.sub(written, template))
    return sentence(re.sub(r"a\(n\) (\w)", article, text))


def is_group(template: str) -> bool:
    """Say whether the subject is more than one, so that ``a doctor`` becomes ``doctors``."""
    return template.startswith(("we ", "they "))


def plural(noun: str) -> str:
    """Return the plural of a job."""
    return noun + ("es" if noun.endswith("s") else "s")


def article(match: re.Match[str]) -> str:
    """Return ``a`` or ``an`` before a letter."""
    word = match.string[match.start(1) :]
    return f"{'an' if word.startswith((*'aeio', 'umb')) else 'a'} {match[1]}"


def split_of(pattern: str, chinese: str, choices: Derivation) -> str:
    """Say to which split a sentence belongs."""
    words = choices.words.values()
    if any(is_held_out("rule and word", pattern, w.chinese, one_in=20) for w in words):
        return "unseen pairs"
    if not is_held_out("sentence", chinese, one_in=12):
        return "train"
    # With one choice the sentence is the pair: neither is in training.
    return "held out" if len(words) + ("{who}" in pattern) > 1 else "unseen pairs"


def draw_sentence(
    random: Random, split: str, patterns: tuple[tuple[str, str], ...] = SENTENCES
) -> tuple[str, str, str]:
    """Return one sentence of a split: Chinese, English, topic."""
    while True:
        topic, pattern = random.choice(patterns)
        chinese, english, choices = derive(pattern, random)
        if split_of(pattern, chinese, choices) == split:
            return chinese, english, topic


def unambiguous_words() -> tuple[Word, ...]:
    """Return the words that have one translation in each direction, in the order of the grammar."""
    words = [word for words in LEXICON.values() for word in words]
    pairs = {(word.chinese, word.english[0]): word for word in words}
    chinese = Counter(left for left, _ in pairs)
    english = Counter(right for _, right in pairs)
    return tuple(w for (c, e), w in pairs.items() if chinese[c] == 1 and english[e] == 1)


GLOSSARY = unambiguous_words()


def draw_word_list(random: Random) -> Pair:
    """Return some words that have nothing to do with each other.

    Nothing but the word itself says how it is translated: what keeps a model from learning by
    heart which words go with which pattern.
    """
    words = random.sample(GLOSSARY, random.randint(1, 6))
    chinese = "、".join(word.chinese for word in words)
    return Pair(chinese, ", ".join(word.english[0] for word in words), ("words",))


def draw_pair(random: Random, split: str = "train") -> Pair:
    """Return one text of a split in both languages."""
    if split not in SPLITS:
        raise ValueError(f"no split {split!r}; there are {', '.join(SPLITS)}")
    sentences = [draw_sentence(random, split)]
    if random.random() < TWO_SENTENCES_SHARE:
        greeting = (*random.choice(FIXED), "greetings")
        sentences.insert(0, random.choice((greeting, draw_sentence(random, split))))
    if split == "train" and random.random() < 0.03:
        sentences = [(*random.choice(FIXED), "greetings")]
    return joined(sentences)


def draw_hard_pair(random: Random) -> Pair:
    """Return a text to train on of the kinds that are learnt last: twins, and two sentences."""
    count = 2 if random.random() < HARD_TWO_SENTENCES_SHARE else 1
    kinds = [TWINS if random.random() < HARD_PATTERN_SHARE else SENTENCES for _ in range(count)]
    sentences = [draw_sentence(random, "train", patterns) for patterns in kinds]
    if count == 2 and random.random() < 0.2:
        sentences[0] = (*random.choice(FIXED), "greetings")
    return joined(sentences)


def joined(sentences: list[tuple[str, str, str]]) -> Pair:
    """Return the text that sentences make."""
    return Pair(
        chinese="".join(part[0] for part in sentences),
        english=" ".join(part[1] for part in sentences),
        topics=tuple(part[2] for part in sentences),
    )
