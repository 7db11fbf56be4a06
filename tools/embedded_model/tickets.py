"""Customer tickets with their gold answers: team, urgency, a summary and a specialist's reply.

A ticket is one core (a fact or an ask of one intent, in a frame) among openings, asides, follow-up
questions, a cue of urgency and a closing, one to six sentences, in a third of the cases with typos.
Urgency is high or low when a cue says so, high when the intent is grave, else normal.

The split. The skeleton of the core (frame and wording with its alternatives settled) and the
values of its slots are each held out by CRC-32, one in ten. Training sees neither; the held-out
split has both: a skeleton never seen, filled with values never seen. The split "unseen wordings"
uses the last fact of each intent, of which training sees no form at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from random import Random

from tools.embedded_model.grammar import choose, fill, is_held_out, sentence, slots
from tools.embedded_model.ticket_intents import INTENTS, Intent
from tools.embedded_model.ticket_phrases import (
    ASIDES,
    CITIES,
    CLOSINGS,
    DAYS,
    FIRST_NAMES,
    FOLLOW_UPS,
    FRAMES,
    HIGH,
    LOW,
    MAIL_HOSTS,
    MONTHS,
    OPENINGS,
    PLANS,
    PRODUCTS,
)

SPLITS = ("train", "held out", "unseen wordings")
TYPO_SHARE = 0.33
LINE_BREAK_SHARE = 0.15


@dataclass(frozen=True)
class Ticket:
    """One ticket and what the five answers to it must say.

    keys: the values that summary and reply must repeat (an order number, a product ...).
    """

    text: str
    team: str
    urgency: str
    summary: str
    reply: str
    keys: tuple[str, ...]
    intent: str


def draw_ticket(random: Random, split: str = "train") -> Ticket:
    """Return one ticket of a split; tickets of another split are drawn again."""
    if split not in SPLITS:
        raise ValueError(f"no split {split!r}; there are {', '.join(SPLITS)}")
    while True:
        intent = random.choice(INTENTS)
        template = choose_core(intent, random, split)
        skeleton = choose(template, random)
        values = {name: draw_value(name, random) for name in slots(intent.summary)}
        if split_of(intent, skeleton, values) == split or split == "unseen wordings":
            return assemble(intent, fill(skeleton, values), values, random)


def choose_core(intent: Intent, random: Random, split: str) -> str:
    """Choose the template that carries the problem: an ask, or a fact in a frame."""
    if split == "unseen wordings":
        return framed(intent.facts[-1], random)
    wording = random.choice(intent.facts[:-1] + intent.asks)
    return wording if wording in intent.asks else framed(wording, random)


def framed(fact: str, random: Random) -> str:
    """Put a fact into a frame."""
    frame = random.choice(FRAMES)
    return frame.replace("{fact}", fact).replace("{Fact}", "^" + fact)


def split_of(intent: Intent, skeleton: str, values: Mapping[str, str]) -> str:
    """Say to which split a core belongs; mixed ones belong to none."""
    is_new_form = is_held_out("form", intent.name, skeleton)
    are_new_values = is_held_out("values", intent.name, *values.values())
    if is_new_form != are_new_values:
        return "neither"
    return "held out" if is_new_form else "train"


def draw_value(name: str, random: Random) -> str:
    """Draw the value of a slot."""
    match name:
        case "order":
            return str(random.randint(10000, 99999))
        case "invoice":
            return f"{random.choice(('INV', 'R', 'F'))}-{random.randint(1000, 9999)}"
        case "amount":
            return draw_amount(random)
        case "code":
            return f"{random.choice('ECXF')}-{random.randint(100, 999)}"
        case "version":
            return f"{random.randint(1, 9)}.{random.randint(0, 19)}"
        case "number":
            return str(random.randint(12, 480))
        case "phone":
            return f"0{random.randint(150, 179)} {random.randint(10000, 99999)}"
        case "date":
            day = f"{random.randint(1, 28)} {random.choice(MONTHS)}"
            return random.choice((random.choice(DAYS), day))
        case "email":
            number = random.choice(("", str(random.randint(1, 99))))
            return f"{random.choice(FIRST_NAMES).lower()}{number}@{random.choice(MAIL_HOSTS)}"
        case _:
            return random.choice({"product": PRODUCTS, "city": CITIES, "plan": PLANS}[name])


def draw_amount(random: Random) -> str:
    """Draw an amount of money in one of the usual notations."""
    whole, cents = random.randint(3, 900), random.randint(0, 99)
    forms = (f"{whole}.{cents:02d} euros", f"${whole}.{cents:02d}", f"{whole} dollars")
    return random.choice(forms)


def assemble(intent: Intent, core: str, values: Mapping[str, str], random: Random) -> Ticket:
    """Put sentences around the core and derive the gold answers."""
    core = sentence(tidy(core.removeprefix("^")))
    urgency, cue = draw_urgency(intent, random)
    extras = [*random.sample(ASIDES, random.choice((0, 0, 1, 1, 2))), cue]
    extras += random.sample(FOLLOW_UPS, random.choice((0, 0, 1)))
    sentences = [spoil(choose(extra, random), random) for extra in extras if extra]
    sentences.insert(random.randint(0, len(sentences)), spoil(core, random, values.values()))
    name = random.choice(FIRST_NAMES) if random.random() < 0.4 else None
    text = enclose(sentences, name, random)
    greeting = f"Hello {name}," if name else "Hello,"
    return Ticket(
        text=text,
        team=intent.team,
        urgency=urgency,
        summary=fill(intent.summary, values),
        reply=f"{greeting} {lower_first(fill(intent.reply, values))}",
        keys=tuple(values.values()),
        intent=intent.name,
    )


def draw_urgency(intent: Intent, random: Random) -> tuple[str, str]:
    """Return an urgency and the sentence that shows it, if one is needed."""
    if intent.is_grave:
        return "high", random.choice(("", random.choice(HIGH)))
    urgency = random.choice(("low", "normal", "high"))
    cues = {"low": LOW, "normal": ("",), "high": HIGH}[urgency]
    return urgency, random.choice(cues)


def enclose(sentences: list[str], name: str | None, random: Random) -> str:
    """Add opening and closing, and join to one text of at most six sentences."""
    opening = choose(random.choice(OPENINGS), random) if random.random() < 0.5 else ""
    if name:
        closing = choose(CLOSINGS[0], random).replace("{name}", name)
    else:
        closing = choose(CLOSINGS[-1], random) if random.random() < 0.2 else ""
    between = "\n" if random.random() < LINE_BREAK_SHARE else " "
    body = " ".join(sentences)
    return between.join([part for part in (opening, body, closing) if part])


def lower_first(reply: str) -> str:
    """Return the reply so that it can follow a greeting and its comma."""
    return reply if reply.startswith(("I ", "Error")) else reply[:1].lower() + reply[1:]


def tidy(text: str) -> str:
    """Remove the spaces that empty alternatives leave."""
    return re.sub(r" +([.,?!])", r"\1", re.sub(r" {2,}", " ", text)).strip()


def spoil(text: str, random: Random, keep: Iterable[str] = ()) -> str:
    """Sometimes make a typo in one word, never in a value that an answer must repeat."""
    text = tidy(text)
    if random.random() > TYPO_SHARE / 2:
        return text
    kept = set(" ".join(keep).split())
    words = text.split(" ")
    long = [
        index
        for index, word in enumerate(words)
        if len(word) > 4 and word.isalpha() and word not in kept
    ]
    if long:
        index = random.choice(long)
        words[index] = mistype(words[index], random)
    return " ".join(words)


def mistype(word: str, random: Random) -> str:
    """Swap, drop or double one letter that is not the first."""
    at = random.randint(1, len(word) - 2)
    match random.randint(0, 2):
        case 0:
            return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
        case 1:
            return word[:at] + word[at + 1 :]
        case _:
            return word[: at + 1] + word[at:]
