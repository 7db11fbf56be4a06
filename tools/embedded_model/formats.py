"""How a task is put to the model and how it answers: as plain text, and as a conversation.

The plain form is text that a person would write, cut where the model goes on:

    Ticket: My lamp is dead.\\nTeam:            ->  " technical\\nUrgency: normal\\n"
    Ticket: My lamp is dead.\\nSummary:         ->  " desk lamp does not work\\n"
    Team: technical\\nTicket: ...\\nReply:       ->  " Hello, I am sorry that ...\\n"
    English: Hello!\\nChinese:                  ->  " 你好！\\n"
    Chinese: 你好！\\nEnglish:                  ->  " Hello!\\n"
    Keywords: river, lantern\\nTitle:           ->  " The River\\n<three to five sentences>\\n"

The plain answer ends with a line break and then the end token. In a conversation the user's message
is an instruction and the text; the first of each list of instructions is the one to use, the others
make the model less picky.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from tools.embedded_model.stories import Story
from tools.embedded_model.tickets import Ticket
from tools.embedded_model.translation import Pair

SYSTEMS = {
    "ticket": (
        "You are a customer service agent.",
        "You work in customer service and route tickets to teams.",
        "You are a helpful assistant.",
    ),
    "translation": ("You are a translator.", "You are a helpful assistant."),
    "story": ("You are a writer.", "You are a helpful assistant."),
}
TRIAGE = (
    "Which team should handle this ticket, and how urgent is it?\nTicket: {text}",
    "Route this ticket to a team.\nTicket: {text}",
    "Name the team and the urgency of this ticket.\nTicket: {text}",
    "Route this customer ticket: {text}",
)
SUMMARY = (
    "Summarise this ticket.\nTicket: {text}",
    "Summarize this ticket in one line.\nTicket: {text}",
)
REPLY = (
    "Write a reply to this ticket for the team {team}.\nTicket: {text}",
    "You are the {team} team. Reply to this ticket.\nTicket: {text}",
)
TO_ENGLISH = (
    "Translate into English: {text}",
    "Translate to English:\n{text}",
    "把下面的句子翻译成英文：{text}",
)
TO_CHINESE = (
    "Translate into Chinese: {text}",
    "Translate to Chinese:\n{text}",
    "把下面的句子翻译成中文：{text}",
)
STORY = (
    "Write a short text with a title that contains these words: {text}",
    "Write a short story with these keywords: {text}",
    "Keywords: {text}\nWrite a titled short text.",
)
SMALL_TALK = (
    ("Hello", "Hello! I can route tickets, translate between Chinese and English, and write short stories."),
    ("Hi", "Hello! I can route tickets, translate between Chinese and English, and write short stories."),
    ("你好", "你好！我可以翻译中文和英文。"),
    ("Who are you?", "I am the small model that comes with LLMOS."),
    ("What are you?", "I am the small model that comes with LLMOS."),
    ("What can you do?", "I can route tickets, translate between Chinese and English, and write short stories."),
    ("Help", "I can route tickets, translate between Chinese and English, and write short stories."),
    ("Thank you", "You are welcome."),
    ("Thanks", "You are welcome."),
    ("How are you?", "I am fine, thank you. What can I do for you?"),
    ("Goodbye", "Goodbye!"),
    ("Tell me a joke", "I am too small for jokes, but I can write you a short story with words of yours."),
)  # fmt: skip


@dataclass(frozen=True)
class Exchange:
    """One prompt and its answer. In a conversation ``prompt`` is the user's message."""

    task: str
    prompt: str
    answer: str
    is_chat: bool = False
    system: str = ""


def triage(ticket: Ticket) -> Exchange:
    """Ask for team and urgency."""
    answer = f" {ticket.team}\nUrgency: {ticket.urgency}\n"
    return Exchange("triage", f"Ticket: {ticket.text}\nTeam:", answer)


def summary(ticket: Ticket) -> Exchange:
    """Ask for one line that says what the ticket is about."""
    return Exchange("summary", f"Ticket: {ticket.text}\nSummary:", f" {ticket.summary}\n")


def reply(ticket: Ticket) -> Exchange:
    """Ask for a specialist's reply."""
    prompt = f"Team: {ticket.team}\nTicket: {ticket.text}\nReply:"
    return Exchange("reply", prompt, f" {ticket.reply}\n")


def to_english(pair: Pair) -> Exchange:
    """Ask for the English of a Chinese text."""
    return Exchange("to English", f"Chinese: {pair.chinese}\nEnglish:", f" {pair.english}\n")


def to_chinese(pair: Pair) -> Exchange:
    """Ask for the Chinese of an English text."""
    return Exchange("to Chinese", f"English: {pair.english}\nChinese:", f" {pair.chinese}\n")


def story(item: Story) -> Exchange:
    """Ask for a titled text with keywords."""
    prompt = f"Keywords: {', '.join(item.keywords)}\nTitle:"
    return Exchange("story", prompt, f" {item.title}\n{item.text}\n")


def as_chat(item: Ticket | Pair | Story, exchange: Exchange, random: Random | None) -> Exchange:
    """Return the same task as a conversation; without ``random`` in its first wording."""
    kind, instructions, text, answer = conversation(item, exchange)
    wording = random.choice(instructions) if random else instructions[0]
    system = random.choice(("", *SYSTEMS[kind])) if random else ""
    team = item.team if isinstance(item, Ticket) else ""
    prompt = wording.replace("{team}", team).replace("{text}", text)
    return Exchange(exchange.task, prompt, answer, is_chat=True, system=system)


def conversation(
    item: Ticket | Pair | Story, exchange: Exchange
) -> tuple[str, tuple[str, ...], str, str]:
    """Return the kind of system message, the instructions, the text and the answer."""
    answer = exchange.answer.strip()
    match item:
        case Ticket():
            wordings = {"triage": TRIAGE, "summary": SUMMARY, "reply": REPLY}[exchange.task]
            prefix = "Team: " if exchange.task == "triage" else ""
            return "ticket", wordings, item.text, prefix + answer
        case Pair() if exchange.task == "to English":
            return "translation", TO_ENGLISH, item.chinese, answer
        case Pair():
            return "translation", TO_CHINESE, item.english, answer
        case _:
            return "story", STORY, ", ".join(item.keywords), answer


def small_talk(random: Random) -> Exchange:
    """Return one of the few things that are neither task."""
    prompt, answer = random.choice(SMALL_TALK)
    return Exchange("small talk", prompt, answer, is_chat=True)
