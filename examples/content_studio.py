"""A content studio: a planner, three writers and an editor make texts out of keywords.

    Planner ──> gives each brief to a writer, collects the finished texts
        Writers ──> have the model read the brief once, fork the session, write alternatives
            Editor ──> picks the alternative that covers the brief best

The alternatives of a brief share what the model has read: forks of a session share its tokens
and, copy-on-write, its memory; only what they write themselves is computed for each.

Run: python examples/content_studio.py [--briefs 12] [--model PATH | --endpoint URL] [--json]
"""

import asyncio
import re
from dataclasses import dataclass
from typing import Any

from actors import Actor, ActorRef, receive
from actors.client import Client
from examples.own_kernel import Options, finish, own_kernel, read_options, watch
from tools.embedded_model.corpus import held_out
from tools.embedded_model.stories import Story, coverage, is_well_formed

WRITERS = 3
MIN_COVERAGE = 0.9  # of the keywords; asked of models that were trained for this
SYSTEM = "You are a writer."
BRIEF = "Write a short text with a title that contains these words: {keywords}"
TEMPERATURES = (0.0, 0.5, 0.9)  # one alternative each: the likeliest text, and freer ones


@dataclass(frozen=True)
class Brief:
    """What a text is to be about."""

    number: int
    keywords: list[str]


class Editor(Actor):
    """Chooses among alternatives."""

    @receive
    async def choose(self, brief: Brief, drafts: list[str]) -> int:
        """Return the index of the draft with most of the keywords; of equals, the first."""
        scores = [count_keywords(brief.keywords, draft) for draft in drafts]
        best = scores.index(max(scores))
        self.state["first_was_best"] = self.state.get("first_was_best", 0) + (best == 0)
        self.state["read"] = self.state.get("read", 0) + len(drafts)
        return best

    @receive
    async def table(self) -> dict[str, int]:
        """Return how many drafts it has read, and how often the first one was taken."""
        return {key: self.state.get(key, 0) for key in ("read", "first_was_best")}


class Writer(Actor):
    """Writes several drafts of a brief, and publishes the one that the editor takes."""

    concurrency = 4

    def __init__(self, planner: "ActorRef[Planner]", editor: ActorRef[Editor]) -> None:
        self.planner = planner
        self.editor = editor

    @receive
    async def write(self, brief: Brief) -> None:
        """Write the brief's text."""
        drafts = await self._drafts(BRIEF.format(keywords=", ".join(brief.keywords)))
        chosen = await self.editor.choose(brief, drafts)
        await self.planner.tell.written(brief, drafts[chosen])

    async def _drafts(self, request: str) -> list[str]:
        messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": request}]
        async with self.llm.session() as session:
            await session.append(messages)
            forks = await session.fork(len(TEMPERATURES))
            seeds = [self.random.getrandbits(32) for _ in forks]  # the same in a retried turn
            written = await asyncio.gather(
                *(
                    fork.generate(temperature=heat, seed=seed if heat else None, max_tokens=160)
                    for fork, heat, seed in zip(forks, TEMPERATURES, seeds, strict=True)
                )
            )
            await asyncio.gather(*(fork.close() for fork in forks))
        return [draft.text.strip() for draft in written]


class Planner(Actor):
    """Plans an issue: briefs to writers in turn; finished texts are kept by number."""

    async def on_start(self) -> None:
        """Employ an editor and the writers, once."""
        if "writers" not in self.state:
            editor = await self.spawn(Editor, name="editor")
            self.state["writers"] = [
                await self.spawn(Writer, self.ref, editor, name=f"writer-{number}")
                for number in range(1, WRITERS + 1)
            ]

    @receive
    async def plan(self, briefs: list[Brief]) -> None:
        """Hand out the briefs of an issue."""
        writers = self.state["writers"]
        for brief in briefs:
            await writers[brief.number % len(writers)].tell.write(brief)

    @receive
    async def written(self, brief: Brief, text: str) -> None:
        """Keep a finished text."""
        self.state[f"text {brief.number}"] = text

    @receive
    async def texts(self) -> dict[int, str]:
        """Return the finished texts by the number of their brief."""
        return {
            int(key.removeprefix("text ")): text
            for key, text in self.state.items()
            if key.startswith("text ")
        }


def count_keywords(keywords: list[str], text: str) -> int:
    """Return how many of the keywords the text below the title contains."""
    words = set(re.findall(r"\w+", text.partition("\n")[2].lower()))
    return sum(keyword.lower() in words for keyword in keywords)


def gold_stories(count: int) -> list[Story]:
    """Return briefs (and a text of each) with pairs of keywords that were never trained on."""
    return [item for item, _ in held_out("story", count) if isinstance(item, Story)]


def make_report(texts: dict[int, str], stories: list[Story], options: Options) -> dict[str, Any]:
    """Say how well the texts cover their briefs."""
    covered = [coverage(story.keywords, texts.get(n, "")) for n, story in enumerate(stories)]
    mean = sum(covered) / len(covered)
    checks = {
        f"{len(texts)} texts for {len(stories)} briefs": len(texts) == len(stories),
        f"coverage is {mean:.0%}, below {MIN_COVERAGE:.0%}": (
            not options.is_trained or mean >= MIN_COVERAGE
        ),
    }
    return {
        "texts": len(texts),
        "keyword_coverage": round(mean, 4),
        "with_title_and_3_to_5_sentences": sum(map(is_well_formed, texts.values())),
        "issue": [
            {"brief": ", ".join(story.keywords), "text": texts.get(n, "").replace("\n", " | ")}
            for n, story in enumerate(stories)
        ],
        "problems": [problem for problem, is_fine in checks.items() if not is_fine],
    }


def run(client: Client, options: Options) -> dict[str, Any]:
    """Make one issue; return it with the figures and the problems."""
    stories = gold_stories(options.items)
    planner = client.spawn(Planner, name="planner")
    planner.plan([Brief(n, list(story.keywords)) for n, story in enumerate(stories)])
    watch(client, "texts", lambda: len(planner.texts()), options.items, options)
    report = make_report(planner.texts(), stories, options)
    return {"drafts": client.lookup("editor").table()} | report


def main() -> None:
    """Run it in a kernel of its own."""
    options = read_options(__doc__, "briefs", default=12)
    with own_kernel(options) as client:
        outcome = run(client, options)
    finish(outcome, options)


if __name__ == "__main__":
    main()
