"""Token batches out of the corpus: rows of similar length, right-padded, loss on answers only.

Some rows are several exchanges one after another, so that the model learns to leave what came
before alone, and to talk for more than one turn.

Promises: batch ``k`` of seed ``s`` is always the same, so a run can go on where it stopped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from random import Random
from typing import NamedTuple

import torch
from tokenizers import Tokenizer

from tools.embedded_model.corpus import (
    CHAT_SHARE,
    FINAL_CHAT_SHARE,
    FINAL_SHARES,
    LAST_SHARES,
    LATE_SHARES,
    SHARES,
    draw,
)
from tools.embedded_model.tokenizer import PAD, text_of

POOL_ROWS = 2048
CHAIN_SHARE = 0.08
MAX_CHAIN = 6
IGNORED = -100

Row = tuple[list[int], list[int]]  # ids, labels
Batch = tuple[torch.Tensor, torch.Tensor]  # the same of several rows


class Phase(NamedTuple):
    """What is drawn from a pool on, and how much of it as conversations."""

    first_pool: int
    shares: Mapping[str, float]
    chat_share: float


# A worker takes a pool in about 82 steps; the two workers' pools alternate.
PHASES = (
    Phase(0, SHARES, CHAT_SHARE),
    Phase(52, LATE_SHARES, CHAT_SHARE),
    Phase(110, LAST_SHARES, CHAT_SHARE),
    Phase(136, FINAL_SHARES, FINAL_CHAT_SHARE),
)


def draw_row(tokenizer: Tokenizer, random: Random, phase: Phase) -> Row:
    """Return one row: one exchange, or a chain of them."""
    count = random.randint(2, MAX_CHAIN) if random.random() < CHAIN_SHARE else 1
    ids: list[int] = []
    labels: list[int] = []
    for _ in range(count):
        exchange = draw(random, shares=phase.shares, chat_share=phase.chat_share)
        prompt, answer = (tokenizer.encode(text).ids for text in text_of(exchange))
        ids += prompt + answer
        labels += [IGNORED] * len(prompt) + answer
    return ids, labels


def pool_batches(tokenizer: Tokenizer, seed: int, pool: int, tokens: int) -> list[Batch]:
    """Return the batches of one pool of rows, each of about ``tokens`` tokens, shuffled."""
    random = Random(f"{seed} pool {pool}")
    phase = [phase for phase in PHASES if phase.first_pool <= pool][-1]
    rows = [draw_row(tokenizer, random, phase) for _ in range(POOL_ROWS)]
    rows.sort(key=lambda row: len(row[0]))
    batches: list[Batch] = []
    current: list[Row] = []
    for row in rows:
        if current and (len(current) + 1) * len(row[0]) > tokens:
            batches.append(collate(current, tokenizer))
            current = []
        current.append(row)
    random.shuffle(batches)
    return batches


def collate(rows: list[Row], tokenizer: Tokenizer) -> Batch:
    """Return ids and labels as tensors; padding stands at the end, where nothing can see it."""
    width = max(len(ids) for ids, _ in rows)
    pad = tokenizer.token_to_id(PAD)
    ids = torch.tensor([ids + [pad] * (width - len(ids)) for ids, _ in rows])
    labels = torch.tensor([lab + [IGNORED] * (width - len(lab)) for _, lab in rows])
    return ids, labels


def stream_batches(
    tokenizer: Tokenizer, seed: int, tokens: int, *, first_pool: int, skip: int, workers: int
) -> Iterator[Batch]:
    """Yield the batches of each ``workers``-th pool without end, but for the first ``skip``."""
    pool = first_pool
    while True:
        batches = pool_batches(tokenizer, seed, pool, tokens)
        yield from batches[skip:]
        skip = max(0, skip - len(batches))
        pool += workers
