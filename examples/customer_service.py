"""Customer service: eight agents read, route and answer tickets, each exactly once.

    Office ──> Triage ──┬──────────────> Team (billing, technical, shipping, account, sales)
      ^                 └─> Escalation ──> asks a team before all other work
      └───────────────── the answered ticket, kept in durable state

Triage and the teams ask the language model. A ticket is a chain of messages, each accepted by the
kernel before its sender goes on; what a handler did is one commit. So any of these processes, the
engine and the kernel may be killed at any moment (`make demo` does it): every ticket is solved,
none twice, and no completion is computed a second time for a handler that is retried.

Run: python examples/customer_service.py [--tickets 200] [--model PATH | --endpoint URL] [--json]
"""

from dataclasses import replace
from typing import Any

from pydantic import TypeAdapter

from actors import Actor, ActorRef, receive
from actors.client import Client
from actors.llm import Completion
from examples.own_kernel import Options, finish, own_kernel, read_options, watch
from examples.tickets import (
    EXPLAINED,
    ROUTE,
    SYSTEM,
    TEAMS,
    Ticket,
    gold_tickets,
    make_report,
    read_route,
)

SLICE = 50  # tickets handed out in one turn
REPLY = "Write a reply to this ticket for the team {team}.\nTicket: {text}"
TICKETS = TypeAdapter(list[Ticket])


class Desk(Actor):
    """What triage and the teams have in common: they ask the model."""

    concurrency = 16  # while one ticket waits for the model, others are read

    def __init__(self, office: "ActorRef[Office]", system: str) -> None:
        self.office = office
        self.system = system

    async def ask_model(self, text: str, max_tokens: int) -> Completion[Any]:
        messages = [{"role": "system", "content": self.system}, {"role": "user", "content": text}]
        # Of an endpoint's answer that was lost nobody knows: asking again costs less than a ticket.
        return await self.llm.chat(messages, max_tokens=max_tokens, on_doubt="retry")


class Team(Desk):
    """Specialists for one kind of problem: they write the reply."""

    @receive
    async def solve(self, ticket: Ticket) -> None:
        """Answer a ticket and hand it back to the office."""
        await self.office.tell.solved(await self.answer(ticket))

    @receive
    async def answer(self, ticket: Ticket) -> Ticket:
        """Return the ticket with a reply to the customer."""
        said = await self.ask_model(REPLY.format(team=ticket.team, text=ticket.text), 160)
        return replace(ticket, reply=said.text.strip(), usages=[*ticket.usages, said.usage])


class Escalation(Actor):
    """Sees to it that what is urgent is answered before all else."""

    concurrency = 16

    def __init__(self, office: "ActorRef[Office]", teams: dict[str, ActorRef[Team]]) -> None:
        self.office = office
        self.teams = teams

    @receive
    async def urgent(self, ticket: Ticket) -> None:
        """Have it answered at once: the priority is inherited by the team's call of the model."""
        team = self.teams[ticket.team].options(priority=0)
        await self.office.tell.solved(await team.answer(ticket))


class Triage(Desk):
    """Reads every ticket first: which team, how urgent."""

    def __init__(
        self,
        office: "ActorRef[Office]",
        system: str,
        teams: dict[str, ActorRef[Team]],
        escalation: ActorRef[Escalation],
    ) -> None:
        super().__init__(office, system)
        self.teams = teams
        self.escalation = escalation

    @receive
    async def route(self, ticket: Ticket) -> None:
        """Send a ticket on its way."""
        said = await self.ask_model(ROUTE.format(text=ticket.text), 24)
        team, urgency = read_route(said.text)
        ticket = replace(ticket, team=team, urgency=urgency, usages=[said.usage])
        if urgency == "high":
            await self.escalation.tell.urgent(ticket)
        else:
            await self.teams[team].tell.solve(ticket)


class Office(Actor):
    """Employs the others, hands out the day's tickets, and keeps what was answered."""

    @receive
    async def open(self, tickets: int, explain: bool = False) -> None:
        """Begin the day. explain: tell the model what it was not trained for."""
        system = SYSTEM + EXPLAINED * explain
        teams = {name: await self.spawn(Team, self.ref, system, name=name) for name in TEAMS}
        escalation = await self.spawn(Escalation, self.ref, teams, name="escalation")
        triage = await self.spawn(Triage, self.ref, system, teams, escalation, name="triage")
        self.state.update(triage=triage, tickets=tickets, solved=0, again=0)
        await self.ref.tell.hand_out(0)

    @receive
    async def hand_out(self, first: int) -> None:
        """Give a slice of the tickets to triage, and the rest to myself."""
        day = gold_tickets(self.state["tickets"])
        last = min(first + SLICE, len(day))
        for number in range(first, last):
            await self.state["triage"].tell.route(Ticket(number, day[number].text))
        if last < len(day):
            await self.ref.tell.hand_out(last)

    @receive
    async def solved(self, ticket: Ticket) -> None:
        """Keep an answered ticket; that one comes again would be a broken promise."""
        key = f"ticket {ticket.number}"
        self.state["again" if key in self.state else "solved"] += 1
        self.state[key] = ticket

    @receive
    async def progress(self) -> int:
        """Return how many tickets were solved."""
        return self.state["solved"]

    @receive
    async def report(self, is_trained: bool = True) -> dict[str, Any]:
        """Compare with what a perfect office would have done."""
        kept = [value for key, value in self.state.items() if key.startswith("ticket ")]
        tickets = TICKETS.validate_python(kept)  # state is plain data
        return make_report(tickets, self.state["tickets"], self.state["again"], is_trained)


def run(client: Client, options: Options) -> dict[str, Any]:
    """Have a day's tickets solved; return the figures and the problems."""
    office = client.spawn(Office, name="office")
    office.open(options.items, explain=not options.is_trained)
    # Urgent: else the question waits behind the tickets that come in.
    urgent = office.options(priority=0)
    watch(client, "tickets", urgent.progress, options.items, options)
    report: dict[str, Any] = office.report(options.is_trained)
    return report


def main() -> None:
    """Run it in a kernel of its own."""
    options = read_options(__doc__, "tickets", default=200)
    with own_kernel(options) as client:
        outcome = run(client, options)
    finish(outcome, options)


if __name__ == "__main__":
    main()
