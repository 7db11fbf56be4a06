"""Translation: a document in two languages is split, routed, translated in parallel, and merged.

    Publisher ──> splits the document into sentences, merges the translations in their order
        Router ──> knows the languages: which pair, long or short
            four translators: Chinese to English and back, each for short and for long sentences

One document is one message. Its handler asks for all sentences at once; the kernel batches what
the translators ask of the model. If the publisher dies half-way, its handler is run again, and
the asks that had been answered are not made again.

Run: python examples/translation.py [--lines 40] [--model PATH | --endpoint URL] [--json]
"""

import asyncio
import re
from typing import Any

from actors import Actor, ActorRef, receive
from actors.client import Client
from examples.fairness import allowed_mistakes
from examples.own_kernel import Options, finish, own_kernel, read_options, say
from tools.embedded_model.corpus import held_out
from tools.embedded_model.translation import Pair

LANGUAGES = ("Chinese", "English")
LONG = {"Chinese": 10, "English": 30}  # characters; from there on a sentence is long
BETWEEN = {"Chinese": "", "English": " "}  # sentences of one line
MIN_EQUAL = 0.95  # share of the lines; asked of models that were trained for this
SYSTEM = "You are a translator."
ASK = "Translate into {target}: {text}"
_END = re.compile(r"(?<=[。！？])|(?<=[.!?])(?<!Mr\.)(?<!Ms\.) ")  # of a sentence
_CHINESE = re.compile("[\u4e00-\u9fff]")


class Translator(Actor):
    """Translates sentences into one language."""

    concurrency = 32  # while one waits for the model, others are taken

    def __init__(self, target: str) -> None:
        self.target = target

    @receive
    async def translate(self, sentence: str) -> str:
        """Return the sentence in the other language."""
        text = ASK.format(target=self.target, text=sentence)
        messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}]
        said = await self.llm.chat(messages, max_tokens=96)
        self.state["sentences"] = self.state.get("sentences", 0) + 1
        return " ".join(said.text.split())  # one line, whatever the model says

    @receive
    async def count(self) -> int:
        """Return how many sentences it has translated."""
        return self.state.get("sentences", 0)


class Router(Actor):
    """Sends each sentence to the translator who is there for its like."""

    concurrency = 256  # it only waits

    async def on_start(self) -> None:
        """Employ the translators, once."""
        if "pool" not in self.state:
            self.state["pool"] = {
                f"{size} {source}": await self.spawn(
                    Translator, other(source), name=f"{size}-{source.lower()}"
                )
                for source in LANGUAGES
                for size in ("short", "long")
            }

    @receive
    async def translate(self, sentence: str) -> str:
        """Return the translation."""
        source = language_of(sentence)
        size = "long" if len(sentence) >= LONG[source] else "short"
        translated: str = await self.state["pool"][f"{size} {source}"].translate(sentence)
        return translated

    @receive
    async def table(self) -> list[dict[str, Any]]:
        """Return what each translator has done."""
        return [
            {"translator for": name, "sentences": await translator.count()}
            for name, translator in self.state["pool"].items()
        ]


class Publisher(Actor):
    """Takes documents and gives them back in the other language, line by line."""

    def __init__(self, router: ActorRef[Router]) -> None:
        self.router = router

    @receive
    async def publish(self, document: str) -> str:
        """Return the document with each line in the other language."""
        return "\n".join(await asyncio.gather(*map(self._line, document.splitlines())))

    async def _line(self, line: str) -> str:
        parts = map(self.router.translate, sentences_of(line))
        translated = await asyncio.gather(*parts)
        return BETWEEN[other(language_of(line))].join(translated)


def sentences_of(line: str) -> list[str]:
    """Return the sentences of a line."""
    return [part for part in _END.split(line) if part]


def language_of(text: str) -> str:
    """Return the language of a text."""
    return "Chinese" if _CHINESE.search(text) else "English"


def other(language: str) -> str:
    """Return the language into which this one is translated."""
    return "English" if language == "Chinese" else "Chinese"


def write_document(lines: int) -> tuple[str, str]:
    """Return a document of sentences that no model was trained on, and its translation."""
    pairs = [item for item, _ in held_out("to English", lines) if isinstance(item, Pair)]
    texts = [(pair.chinese, pair.english)[:: 1 if n % 2 else -1] for n, pair in enumerate(pairs)]
    return "\n".join(text for text, _ in texts), "\n".join(text for _, text in texts)


def make_report(translated: str, gold: str, options: Options) -> dict[str, Any]:
    """Compare line by line with the translation by the grammar's own rules."""
    lines, right = translated.split("\n"), gold.split("\n")
    equal = sum(map(str.__eq__, lines, right))
    wrong, allowed = len(right) - equal, allowed_mistakes(len(right), MIN_EQUAL)
    checks = {
        f"{len(lines)} lines of {len(right)}": len(lines) == len(right),
        f"{wrong} lines are wrong, more than {allowed}": not options.is_trained or wrong <= allowed,
    }
    return {
        "lines": len(right),
        "lines_right": round(equal / len(right), 4),
        "mistakes": [
            {"translated": one, "right": other_one}
            for one, other_one in zip(lines, right, strict=False)
            if one != other_one
        ][:5],
        "problems": [problem for problem, is_fine in checks.items() if not is_fine],
    }


def run(client: Client, options: Options) -> dict[str, Any]:
    """Translate one document; return the figures and the problems."""
    document, gold = write_document(options.items)
    router = client.spawn(Router, name="router")
    publisher = client.spawn(Publisher, router, name="publisher")
    say(f"translating {options.items} lines, the first: {document.partition(chr(10))[0]}", options)
    translated = publisher.publish(document)
    return {"translators": router.table()} | make_report(translated, gold, options)


def main() -> None:
    """Run it in a kernel of its own."""
    options = read_options(__doc__, "lines", default=40)
    with own_kernel(options) as client:
        outcome = run(client, options)
    finish(outcome, options)


if __name__ == "__main__":
    main()
