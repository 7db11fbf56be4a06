"""The corpus: exchanges of all tasks in their shares, reproducible from a seed.

``draw(random, split)`` gives one exchange, ``held_out(task, count, seed)`` the samples that
evaluation, tests and examples use. No exchange of a held-out split can occur in training: the
generators decide by content, see their heads.

Cost: about 50 us an exchange.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from random import Random

from tools.embedded_model import formats
from tools.embedded_model.formats import Exchange
from tools.embedded_model.stories import Story, draw_story
from tools.embedded_model.tickets import Ticket, draw_ticket
from tools.embedded_model.translation import Pair, draw_hard_pair, draw_pair, draw_word_list

SHARES = {
    "triage": 0.27,
    "reply": 0.11,
    "summary": 0.08,
    "to English": 0.19,
    "to Chinese": 0.19,
    "story": 0.13,
    "small talk": 0.03,
}
# Routing is learnt first; from then on the tasks that need more have more.
LATE_SHARES = {
    "triage": 0.08,
    "reply": 0.12,
    "summary": 0.08,
    "to English": 0.27,
    "to Chinese": 0.23,
    "story": 0.20,
    "small talk": 0.02,
}
LAST_SHARES = {
    "triage": 0.13,
    "reply": 0.11,
    "summary": 0.06,
    "to English": 0.19,
    "to Chinese": 0.21,
    "words to English": 0.07,
    "words to Chinese": 0.08,
    "story": 0.14,
    "small talk": 0.01,
}
FINAL_SHARES = {
    "triage": 0.11,
    "reply": 0.09,
    "summary": 0.06,
    "to English": 0.10,
    "to Chinese": 0.11,
    "hard to English": 0.15,
    "hard to Chinese": 0.18,
    "words to English": 0.04,
    "words to Chinese": 0.05,
    "story": 0.10,
    "small talk": 0.01,
}
CHAT_SHARE = 0.35
FINAL_CHAT_SHARE = 0.5  # a conversation has several wordings, the plain form one
EVALUATION_SEED = 20_000


def draw_item(task: str, random: Random, split: str) -> Ticket | Pair | Story:
    """Draw what a task works on."""
    match task:
        case "triage" | "reply" | "summary":
            return draw_ticket(random, split)
        case "to English" | "to Chinese":
            return draw_pair(random, split)
        case "hard to English" | "hard to Chinese":
            return draw_hard_pair(random)
        case "words to English" | "words to Chinese":
            return draw_word_list(random)
        case _:
            return draw_story(random, split)


def exchange_of(task: str, item: Ticket | Pair | Story) -> Exchange:
    """Return the plain exchange of a task."""
    match item:
        case Ticket():
            asks = {"triage": formats.triage, "reply": formats.reply, "summary": formats.summary}
            return asks[task](item)
        case Pair():
            return formats.to_english(item) if "English" in task else formats.to_chinese(item)
        case _:
            return formats.story(item)


def draw(
    random: Random,
    split: str = "train",
    shares: Mapping[str, float] = SHARES,
    chat_share: float = CHAT_SHARE,
) -> Exchange:
    """Draw one exchange of any task, plain or as a conversation."""
    task = random.choices(list(shares), list(shares.values()))[0]
    if task == "small talk":
        return formats.small_talk(random)
    item = draw_item(task, random, split)
    exchange = exchange_of(task, item)
    return formats.as_chat(item, exchange, random) if random.random() < chat_share else exchange


def stream(seed: int, split: str = "train") -> Iterator[Exchange]:
    """Yield exchanges without end."""
    random = Random(seed)
    while True:
        yield draw(random, split)


def held_out(
    task: str, count: int, seed: int = EVALUATION_SEED, split: str = "held out"
) -> list[tuple[Ticket | Pair | Story, Exchange]]:
    """Return different items that training never sees, each with its plain exchange."""
    random = Random(f"{seed} {task}")
    items: dict[Ticket | Pair | Story, None] = {}
    while len(items) < count:
        items[draw_item(task, random, split)] = None
    return [(item, exchange_of(task, item)) for item in items]


def digest(seed: int, count: int, split: str = "train") -> str:
    """Return the SHA-256 of the first exchanges, the corpus' fingerprint."""
    state = hashlib.sha256()
    for _, exchange in zip(range(count), stream(seed, split), strict=False):
        state.update(f"{exchange.task}\x1f{exchange.prompt}\x1f{exchange.answer}\x1e".encode())
    return state.hexdigest()
