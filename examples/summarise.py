"""A digest of a long text by map and reduce: what did customers want today, what is urgent?

    Digest ──> cuts the day's mail into parts, one message each
        Mappers ──> read the tickets of a part: the team, how urgent, one line
            Reducers ──> merge two digests into one, until one is left

The day's mail may be longer than any model's context; no agent ever holds more than its part.
The digest is checked against the counts that are known of these tickets.

Run: python examples/summarise.py [--tickets 100] [--model PATH | --endpoint URL] [--json]
"""

import asyncio
import re
from collections import Counter
from typing import Any

from actors import Actor, ActorRef, receive
from actors.client import Client
from examples.fairness import allowed_mistakes
from examples.own_kernel import Options, finish, own_kernel, read_options, say
from examples.tickets import EXPLAINED, ROUTE, SYSTEM, TEAMS, gold_tickets, read_route

MAPPERS = 4
PART = 1500  # characters of the text that one mapper reads at a time
# Asked of models that were trained for this; the embedded one's model card says how well it does.
MIN_COUNTED = 0.95  # share of the tickets whose team and urgency are right
MIN_NAMED = 0.70  # share of the lines that name all facts of their ticket
SUMMARY = "Summarise this ticket.\nTicket: {text}"
MARK = "\n\n--- ticket ---\n"  # stands before each ticket in the day's mail

Table = dict[str, Any]  # "counts": by team and urgency; "urgent": lines in the order of the text


class Mapper(Actor):
    """Makes a digest of one part."""

    concurrency = 4

    def __init__(self, system: str) -> None:
        self.system = system

    @receive
    async def digest(self, part: str) -> Table:
        """Return the part's digest."""
        read = await asyncio.gather(*(self._read(text) for text in part.split(MARK) if text))
        return {
            "counts": dict(Counter(f"{team} {urgency}" for team, urgency, _ in read)),
            "lines": [line for _, _, line in read],
            "urgent": [f"{team}: {line}" for team, urgency, line in read if urgency == "high"],
        }

    async def _read(self, text: str) -> tuple[str, str, str]:
        route, line = await asyncio.gather(
            self._ask(ROUTE.format(text=text)), self._ask(SUMMARY.format(text=text))
        )
        return (*read_route(route), line)

    async def _ask(self, text: str) -> str:
        messages = [{"role": "system", "content": self.system}, {"role": "user", "content": text}]
        return (await self.llm.chat(messages, max_tokens=64)).text.strip()


class Reducer(Actor):
    """Merges digests."""

    @receive
    async def merge(self, first: Table, second: Table) -> Table:
        """Return the digest of both parts, in their order."""
        return {
            "counts": dict(Counter(first["counts"]) + Counter(second["counts"])),
            "lines": first["lines"] + second["lines"],
            "urgent": first["urgent"] + second["urgent"],
        }


class Digest(Actor):
    """Cuts a text and has its parts read and merged."""

    def __init__(self, explain: bool = False) -> None:
        self.system = SYSTEM + EXPLAINED * explain

    async def on_start(self) -> None:
        """Employ the mappers and a reducer, once."""
        if "mappers" not in self.state:
            self.state["reducer"] = await self.spawn(Reducer, name="reducer")
            self.state["mappers"] = [
                await self.spawn(Mapper, self.system, name=f"mapper-{n}") for n in range(MAPPERS)
            ]

    @receive
    async def summarise(self, text: str) -> Table:
        """Return the digest of a text of any length."""
        mappers = self.state["mappers"]
        tables = await asyncio.gather(
            *(mappers[n % MAPPERS].digest(part) for n, part in enumerate(cut(text)))
        )
        return await self._reduce(list(tables), self.state["reducer"])

    async def _reduce(self, tables: list[Table], reducer: ActorRef[Reducer]) -> Table:
        while len(tables) > 1:
            pairs = zip(tables[::2], tables[1::2], strict=False)
            merged = await asyncio.gather(*(reducer.merge(*pair) for pair in pairs))
            tables = [*merged, *tables[len(merged) * 2 :]]
        return tables[0]


def cut(text: str) -> list[str]:
    """Return parts of about PART characters; no ticket is cut."""
    parts = [""]
    for ticket in re.split(f"(?={re.escape(MARK)})", text):
        if len(parts[-1]) + len(ticket) > PART and parts[-1]:
            parts.append("")
        parts[-1] += ticket
    return parts


def make_report(table: Table, count: int, options: Options) -> dict[str, Any]:
    """Compare the digest with what is known of the day's tickets."""
    gold = gold_tickets(count)
    right = Counter(f"{ticket.team} {ticket.urgency}" for ticket in gold)
    found = Counter(table["counts"])
    misplaced = sum((right - found).values())
    lacking = count - sum(
        all(key in line for key in ticket.keys)
        for ticket, line in zip(gold, table["lines"], strict=False)
    )
    is_free = not options.is_trained
    checks = {
        f"{found.total()} tickets of {count} are in the digest": found.total() == count,
        f"{misplaced} tickets are counted wrongly": (
            is_free or misplaced <= allowed_mistakes(count, MIN_COUNTED)
        ),
        f"{lacking} lines lack a fact of their ticket": (
            is_free or lacking <= allowed_mistakes(count, MIN_NAMED)
        ),
    }
    return {
        "teams": [count_row(team, found, right) for team in TEAMS],
        "counted_wrongly": round(misplaced / count, 4),
        "lines_with_all_facts": round(1 - lacking / count, 4),
        "urgent": [{"urgent": line} for line in table["urgent"]],
        "problems": [problem for problem, is_fine in checks.items() if not is_fine],
    }


def count_row(team: str, found: Counter[str], right: Counter[str]) -> dict[str, Any]:
    """Return a team's line: counts by urgency, each beside what is right."""
    levels = ("low", "normal", "high")
    cells = {one: f"{found[f'{team} {one}']} of {right[f'{team} {one}']}" for one in levels}
    return {"team": team} | cells


def run(client: Client, options: Options) -> dict[str, Any]:
    """Make the digest of one day; return it with the problems."""
    text = "".join(MARK + ticket.text for ticket in gold_tickets(options.items))
    digest = client.spawn(Digest, not options.is_trained, name="digest")
    say(f"reading {len(text):,} characters in {len(cut(text))} parts", options)
    return make_report(digest.summarise(text), options.items, options)


def main() -> None:
    """Run it in a kernel of its own."""
    options = read_options(__doc__, "tickets", default=100)
    with own_kernel(options) as client:
        outcome = run(client, options)
    finish(outcome, options)


if __name__ == "__main__":
    main()
