"""Held-out accuracy of a model folder: what the model card states and the tests check again.

Run: python -m tools.embedded_model.evaluation --samples 1000

Decoding is greedy, in batches of similar length, left-padded. A right answer is exact: team and
urgency both, the whole translation; for summary and reply, that the ticket's key values are in it;
for stories, the share of keywords in the text (with a title and three to five sentences). Behind
each figure stands its 95 % interval.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tools.embedded_model.corpus import EVALUATION_SEED, exchange_of, held_out
from tools.embedded_model.formats import Exchange, as_chat
from tools.embedded_model.stories import Story, coverage, is_well_formed
from tools.embedded_model.tickets import Ticket
from tools.embedded_model.translation import Pair

MODEL = Path(__file__).resolve().parents[2] / "actors" / "embedded_model"
HARDER = {
    "triage": "unseen wordings",
    "summary": "unseen wordings",
    "reply": "unseen wordings",
    "to English": "unseen pairs",
    "to Chinese": "unseen pairs",
}
TASKS = ("triage", "to English", "to Chinese", "story", "reply", "summary")
MAX_NEW_TOKENS = 160
DEVIATIONS = 1.96  # of a normal distribution: 95 % lie within
Item = Ticket | Pair | Story


@dataclass(frozen=True)
class Answered:
    """One held-out sample and what the model said."""

    item: Item
    exchange: Exchange
    answer: str

    @property
    def score(self) -> float:
        """Return 1 for right, 0 for wrong; of stories the share of keywords."""
        if isinstance(self.item, Story):
            return coverage(self.item.keywords, self.answer) * is_well_formed(self.answer)
        if self.exchange.task in {"reply", "summary"}:
            assert isinstance(self.item, Ticket)
            return float(all(key in self.answer for key in self.item.keys))
        return float(self.answer.strip() == self.exchange.answer.strip())


class Answerer:
    """A model folder, ready to answer exchanges greedily."""

    def __init__(self, folder: Path = MODEL, batch: int = 50) -> None:
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, padding_side="left")
        self.model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        self.model.eval()
        self.batch = batch

    def prompt(self, exchange: Exchange) -> str:
        """Return the text that the model continues."""
        if not exchange.is_chat:
            return exchange.prompt
        messages = [{"role": "user", "content": exchange.prompt}]
        if exchange.system:
            messages.insert(0, {"role": "system", "content": exchange.system})
        text: str = self.tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )
        return text

    def answer(self, exchanges: Sequence[Exchange]) -> list[str]:
        """Return the answers, in the order of the exchanges."""
        prompts = [self.prompt(exchange) for exchange in exchanges]
        order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
        answers: dict[int, str] = {}
        for start in range(0, len(order), self.batch):
            indices = order[start : start + self.batch]
            texts = self._generate([prompts[index] for index in indices])
            answers.update(zip(indices, texts, strict=True))
        return [answers[index] for index in range(len(prompts))]

    def _generate(self, prompts: list[str]) -> list[str]:
        inputs = self.tokenizer(prompts, return_tensors="pt", padding=True)
        with torch.inference_mode():
            output = self.model.generate(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                do_sample=False,
                max_new_tokens=MAX_NEW_TOKENS,
            )
        fresh = output[:, inputs["input_ids"].shape[1] :]
        texts: list[str] = self.tokenizer.batch_decode(fresh, skip_special_tokens=True)
        return texts


def evaluate(
    answerer: Answerer, task: str, count: int, split: str = "held out", *, is_chat: bool = False
) -> list[Answered]:
    """Answer held-out samples of a task."""
    samples = held_out(task, count, EVALUATION_SEED, split)
    exchanges = [
        as_chat(item, exchange, None) if is_chat else exchange for item, exchange in samples
    ]
    answers = answerer.answer(exchanges)
    items = [item for item, _ in samples]
    return [Answered(*found) for found in zip(items, exchanges, answers, strict=True)]


def accuracy(answered: Sequence[Answered]) -> float:
    """Return the mean score in per cent."""
    return 100 * sum(found.score for found in answered) / len(answered)


def interval(answered: Sequence[Answered]) -> tuple[float, float]:
    """Return the 95 % interval of the mean score in per cent, by Wilson.

    It is that of answers that are right or wrong; of shares, which vary less, it is too wide.
    """
    count, share = len(answered), accuracy(answered) / 100
    middle = share + DEVIATIONS**2 / (2 * count)
    reach = DEVIATIONS * sqrt((share * (1 - share) + DEVIATIONS**2 / (4 * count)) / count)
    scale = 100 / (1 + DEVIATIONS**2 / count)
    return (middle - reach) * scale, (middle + reach) * scale


def main(report: Callable[[str], None] = print) -> None:
    """Evaluate all tasks, plain and as conversations, and show some mistakes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--tasks", nargs="*", default=list(TASKS))
    parser.add_argument("--mistakes", type=int, default=0)
    parser.add_argument("--no-chat", action="store_true")
    args = parser.parse_args()

    answerer = Answerer(args.model)
    forms = [("held out", False)] if args.no_chat else [("held out", False), ("held out", True)]
    for task in args.tasks:
        harder = [(HARDER[task], False)] if task in HARDER else []
        for split, is_chat in forms + harder:
            found = evaluate(answerer, task, args.samples, split, is_chat=is_chat)
            form = "chat" if is_chat else "plain"
            low, high = interval(found)
            figure = f"{accuracy(found):7.2f} % of {len(found)} ({low:.1f} to {high:.1f})"
            report(f"{task:12} {split:16} {form:6} {figure}")
            for wrong in [one for one in found if one.score < 1][: args.mistakes]:
                report(f"    {wrong.exchange.prompt!r}\n    -> {wrong.answer!r}")
                report(f"    != {exchange_of(task, wrong.item).answer!r}")


if __name__ == "__main__":
    main()
