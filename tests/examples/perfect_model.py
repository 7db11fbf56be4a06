"""A scripted model that answers the examples' questions as the corpus says is right."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from actors.testing import ScriptedRequest
from examples import content_studio, customer_service, summarise, translation
from examples.tickets import ROUTE
from tools.embedded_model.formats import REPLY, STORY, SUMMARY, SYSTEMS, TO_ENGLISH, TRIAGE
from tools.embedded_model.stories import Story
from tools.embedded_model.tickets import Ticket

Answer = Callable[[ScriptedRequest], str]


def about_tickets(tickets: Iterable[Ticket]) -> Answer:
    """Return a model that routes, summarises and answers these tickets."""
    by_text = {ticket.text: ticket for ticket in tickets}

    def answer(request: ScriptedRequest) -> str:
        question, _, text = request.messages[-1]["content"].partition("Ticket: ")
        ticket = by_text[text]
        if question.startswith("Write"):
            return ticket.reply
        if question.startswith("Summarise"):
            return ticket.summary
        return f"Team: {ticket.team}\nUrgency: {ticket.urgency}"

    return answer


def about_sentences(translations: dict[str, str]) -> Answer:
    """Return a model that knows these translations."""

    def answer(request: ScriptedRequest) -> str:
        return translations[request.messages[-1]["content"].partition(": ")[2]]

    return answer


def about_stories(stories: Iterable[Story]) -> Answer:
    """Return a model that writes a good text at any temperature, and a poor one without."""
    by_words = {", ".join(story.keywords): story for story in stories}

    def answer(request: ScriptedRequest) -> str:
        story = by_words[request.messages[-1]["content"].partition(": ")[2]]
        if not request.sampling.get("temperature"):
            return f"{story.title}\nNothing happened."
        return f"{story.title}\n{story.text}"

    return answer


# What the examples ask, and the words the embedded model was trained with.
ASKED = {
    ROUTE: TRIAGE[0],
    customer_service.REPLY: REPLY[0],
    summarise.SUMMARY: SUMMARY[0],
    translation.ASK.replace("{target}", "English"): TO_ENGLISH[0],
    content_studio.BRIEF.replace("{keywords}", "{text}"): STORY[0],
}
SPOKEN_AS = {
    customer_service.SYSTEM: SYSTEMS["ticket"],
    translation.SYSTEM: SYSTEMS["translation"],
    content_studio.SYSTEM: SYSTEMS["story"],
}
