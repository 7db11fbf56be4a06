"""The examples' agents on the real kernel core, in memory, with a scripted model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from actors import ActorRef
from actors.testing import TestKernel
from examples.content_studio import Brief, Planner, gold_stories
from examples.content_studio import make_report as report_studio
from examples.customer_service import Office
from examples.own_kernel import Options
from examples.summarise import MARK, Digest, cut
from examples.summarise import make_report as report_digest
from examples.tickets import gold_tickets, read_route
from examples.translation import Publisher, Router, language_of, sentences_of, write_document
from examples.translation import make_report as report_translation
from tests.examples.perfect_model import (
    ASKED,
    SPOKEN_AS,
    about_sentences,
    about_stories,
    about_tickets,
)

TICKETS = 30
OPTIONS = Options(TICKETS, None, is_trained=True, as_json=True)


@pytest.fixture
def kernel() -> Iterator[TestKernel]:
    with TestKernel() as running:
        running.llm.reply_with(about_tickets(gold_tickets(TICKETS)))
        yield running


def open_office(kernel: TestKernel) -> ActorRef[Any]:
    office = kernel.spawn(Office, name="office")
    kernel.ask(office.open(TICKETS))
    return office


def name_of(kernel: TestKernel, actor: str) -> ActorRef[Any]:
    return kernel.lookup(actor)


def test_the_examples_ask_in_the_words_that_the_model_was_trained_with() -> None:
    assert {asked for asked, trained in ASKED.items() if asked != trained} == set()
    assert all(system in known for system, known in SPOKEN_AS.items())


def test_the_office_solves_every_ticket_once(kernel: TestKernel) -> None:
    office = open_office(kernel)
    kernel.run_until_idle()

    report = kernel.ask(office.report())

    assert report["problems"] == []
    assert (report["solved"], report["solved_again"]) == (TICKETS, 0)
    assert report["routing_accuracy"] == report["urgency_accuracy"] == 1.0
    assert sum(row["replies that name all facts"] for row in report["teams"]) == TICKETS
    assert len(kernel.llm.requests) == report["completions"] == 2 * TICKETS


@pytest.mark.parametrize("victim", ["triage", "sales", "escalation", "office"])
def test_a_killed_agent_costs_no_ticket_and_no_second_completion(
    kernel: TestKernel, victim: str
) -> None:
    kernel.llm.step_s = 0.01
    office = open_office(kernel)
    kernel.advance(0.3)
    before = kernel.ask(office.progress())

    kernel.crash(name_of(kernel, victim))
    kernel.restart_kernel()
    kernel.advance(600)

    report = kernel.ask(office.report())
    assert before < TICKETS
    assert report["problems"] == []
    assert len(kernel.llm.requests) == 2 * TICKETS
    (model,) = kernel.system("models")
    assert model["served"]["completions"] == 2 * TICKETS


def test_the_office_says_what_went_wrong(kernel: TestKernel) -> None:
    kernel.llm.reply("no idea")
    office = open_office(kernel)
    kernel.run_until_idle()

    trained = kernel.ask(office.report())
    other = kernel.ask(office.report(False))

    assert trained["problems"] == ["24 tickets were routed wrongly, more than 3"]
    assert other["problems"] == []
    assert trained["routing_accuracy"] < 0.5


def test_an_answer_that_cannot_be_read_goes_to_people_who_ask_back() -> None:
    assert read_route("Team: billing\nUrgency: low") == ("billing", "low")
    assert read_route("urgency is high for SALES") == ("sales", "high")
    assert read_route("?") == ("account", "high")


def test_a_translated_document_keeps_the_order_of_its_lines(kernel: TestKernel) -> None:
    document, gold = write_document(12)
    kernel.llm.reply_with(lambda request: request.messages[-1]["content"].partition(": ")[2])
    publisher = kernel.spawn(Publisher, kernel.spawn(Router, name="router"), name="publisher")

    echoed = kernel.ask(publisher.publish(document))

    assert echoed.replace(" ", "") == document.replace(" ", "")
    assert {language_of(line) for line in gold.splitlines()} == {"Chinese", "English"}


def test_a_line_is_cut_between_its_sentences_and_not_after_a_title() -> None:
    line = "Ms. Li is waiting. Mr. Wang is a doctor! Hello!"

    assert sentences_of(line) == ["Ms. Li is waiting.", "Mr. Wang is a doctor!", "Hello!"]
    assert sentences_of("你好！李女士在等你。") == ["你好！", "李女士在等你。"]


def test_a_right_translation_is_found_right_and_a_wrong_line_is_shown(kernel: TestKernel) -> None:
    known = {"你好！": "Hello!", "Thank you.": "谢谢你。", "我是医生。": "I am a doctor."}
    kernel.llm.reply_with(about_sentences(known))
    publisher = kernel.spawn(Publisher, kernel.spawn(Router, name="router"), name="publisher")

    translated = kernel.ask(publisher.publish("你好！我是医生。\nThank you."))

    assert translated == "Hello! I am a doctor.\n谢谢你。"
    assert report_translation(translated, translated, OPTIONS)["problems"] == []
    wrong = report_translation(translated, "Hello! I am a nurse.\n谢谢你。", OPTIONS)
    assert wrong["problems"] == ["1 lines are wrong, more than 0"]
    assert wrong["mistakes"] == [
        {"translated": "Hello! I am a doctor.", "right": "Hello! I am a nurse."}
    ]


def test_the_editor_takes_the_draft_with_most_keywords(kernel: TestKernel) -> None:
    stories = gold_stories(6)
    kernel.llm.reply_with(about_stories(stories))
    planner = kernel.spawn(Planner, name="planner")

    kernel.ask(planner.plan([Brief(n, list(one.keywords)) for n, one in enumerate(stories)]))
    kernel.run_until_idle()

    texts = kernel.ask(planner.texts())
    assert texts == {n: f"{one.title}\n{one.text}" for n, one in enumerate(stories)}
    assert report_studio(texts, stories, OPTIONS)["problems"] == []
    read = kernel.ask(name_of(kernel, "editor").table())
    assert read == {"read": 18, "first_was_best": 0}
    assert [model["sessions"] for model in kernel.system("models")] == [0]
    lost = report_studio({}, stories, OPTIONS)["problems"]
    assert lost == ["0 texts for 6 briefs", "coverage is 0%, below 90%"]


def test_a_digest_counts_every_ticket_and_names_its_facts(kernel: TestKernel) -> None:
    text = "".join(MARK + ticket.text for ticket in gold_tickets(TICKETS))
    digest = kernel.spawn(Digest, name="digest")

    table = kernel.ask(digest.summarise(text))

    report = report_digest(table, TICKETS, OPTIONS)
    assert report["problems"] == []
    assert (report["counted_wrongly"], report["lines_with_all_facts"]) == (0.0, 1.0)
    urgent = [
        f"{one.team}: {one.summary}" for one in gold_tickets(TICKETS) if one.urgency == "high"
    ]
    assert [row["urgent"] for row in report["urgent"]] == urgent


def test_a_digest_that_is_wrong_is_found_out(kernel: TestKernel) -> None:
    kernel.llm.reply("Team: sales\nUrgency: low")
    text = "".join(MARK + ticket.text for ticket in gold_tickets(TICKETS))
    digest = kernel.spawn(Digest, name="digest")

    table = kernel.ask(digest.summarise(text))

    report = report_digest(table, TICKETS, OPTIONS)
    assert len(report["problems"]) == 2


def test_no_ticket_is_cut() -> None:
    text = "".join(MARK + ticket.text for ticket in gold_tickets(TICKETS))

    parts = cut(text)

    assert "".join(parts) == text
    assert len(parts) == 3
    assert all(part.startswith(MARK) for part in parts)
