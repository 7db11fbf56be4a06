"""Tickets of customers whom the model has never met, and how well a day of them was handled.

The tickets come from the held-out split of the corpus that the embedded model was trained on
(tools/embedded_model), each with its gold answers.
"""

import re
from dataclasses import dataclass, field
from functools import cache
from statistics import median
from typing import Any

from actors.llm import Usage
from examples.fairness import allowed_mistakes
from tools.embedded_model import tickets as corpus
from tools.embedded_model.corpus import held_out

TEAMS = ("billing", "technical", "shipping", "account", "sales")
MIN_ACCURACY = 0.95  # of the teams; asked of models that were trained for this

SYSTEM = "You are a customer service agent."
ROUTE = "Which team should handle this ticket, and how urgent is it?\nTicket: {text}"
# What other models need to be told; the embedded one was trained for it.
EXPLAINED = (
    " The teams are billing, technical, shipping, account and sales; tickets are of low, normal or"
    " high urgency. To route a ticket, answer in two lines: 'Team: ...' and 'Urgency: ...'."
)


@dataclass(frozen=True)
class Ticket:
    """A customer's ticket on its way through the office."""

    number: int
    text: str
    team: str = ""
    urgency: str = ""
    reply: str = ""
    usages: list[Usage] = field(default_factory=list)  # what its completions took


@cache
def gold_tickets(count: int) -> tuple[corpus.Ticket, ...]:
    """Return a day's tickets with their gold answers. Cost: some ms each, the first time."""
    return tuple(item for item, _ in held_out("triage", count))


def read_route(answer: str) -> tuple[str, str]:
    """Return team and urgency; an answer that cannot be read goes to people who ask back."""
    team = re.search("|".join(TEAMS), answer.lower())
    urgency = re.search("low|normal|high", answer.lower()[team.end() :] if team else "")
    return team[0] if team else "account", urgency[0] if urgency else "high"


def make_report(
    tickets: list[Ticket], expected: int, again: int, is_trained: bool
) -> dict[str, Any]:
    """Return the figures of a day, and what is wrong with them."""
    gold = gold_tickets(expected)
    right = [gold[one.number].team == one.team for one in tickets]
    urgent = [gold[one.number].urgency == one.urgency for one in tickets]
    usages = [usage for one in tickets for usage in one.usages]
    unanswered = sum(not one.reply for one in tickets)
    wrong, allowed = expected - sum(right), allowed_mistakes(expected, MIN_ACCURACY)
    checks = {
        f"{expected - len(tickets)} tickets were lost": len(tickets) == expected,
        f"{again} tickets were solved twice": again == 0,
        f"{unanswered} tickets are without a reply": not is_trained or unanswered == 0,
        f"{len(usages)} completions for {expected} tickets": len(usages) == 2 * expected,
        f"{wrong} tickets were routed wrongly, more than {allowed}": (
            not is_trained or wrong <= allowed
        ),
    }
    return {
        "tickets": expected,
        "solved": len(tickets),
        "solved_again": again,
        "routing_accuracy": round(sum(right) / expected, 4),
        "urgency_accuracy": round(sum(urgent) / expected, 4),
        "completions": len(usages),
        "prompt_tokens": sum(usage.prompt_tokens for usage in usages),
        "cached_tokens": sum(usage.cached_tokens for usage in usages),
        "completion_tokens": sum(usage.completion_tokens for usage in usages),
        "first_token_ms": round(1e3 * median([u.first_token_s for u in usages] or [0.0])),
        "teams": [team_row(name, tickets, gold) for name in TEAMS],
        "problems": [problem for problem, is_fine in checks.items() if not is_fine],
    }


def team_row(name: str, tickets: list[Ticket], gold: tuple[corpus.Ticket, ...]) -> dict[str, Any]:
    """Return one line of the table: how a team's day was."""
    mine = [one for one in tickets if one.team == name]
    return {
        "team": name,
        "tickets": len(mine),
        "routed right": sum(gold[one.number].team == name for one in mine),
        "urgent": sum(one.urgency == "high" for one in mine),
        "replies that name all facts": sum(
            all(key in one.reply for key in gold[one.number].keys) for one in mine
        ),
    }
