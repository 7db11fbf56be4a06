"""Token batches out of the corpus: rows of similar length, right-padded, loss on answers only.

Some rows are several exchanges one after another, so that the model learns to leave what came
before alone, and to talk for more than one turn.

Promises: batch ``k`` of seed ``s`` is always the same, so a run can go on where it stopped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from random import Random

import torch
from tokenizers import Tokenizer

from tools.embedded_model.corpus import LAST_SHARES, LATE_SHARES, SHARES, draw
from tools.embedded_model.tokenizer import PAD, text_of

POOL_ROWS = 2048
CHAIN_SHARE = 0.08
MAX_CHAIN = 6
# Two workers take a pool in about 82 steps.
SHARES_BY_POOL = ((0, SHARES), (52, LATE_SHARES), (110, LAST_SHARES))
IGNORED = -100

Row = tuple[list[int], list[int]]  # ids, labels


def draw_row(tokenizer: Tokenizer, random: Random, shares: Mapping[str, float]) -> Row:
    """Return one row: one exchange, or a chain of them."""
    count = random.randint(2, MAX_CHAIN) if random.random() < CHAIN_SHARE else 1
    ids: list[int] = []
    labels: list[int] = []
    for _ in range(count):
        prompt, answer = (
            tokenizer.encode(text).ids for text in text_of(draw(random, shares=shares))
        )
        ids += prompt + answer
        labels += [IGNORED] * len(prompt) + answer
    return ids, labels


def pool_batches(
    tokenizer: Tokenizer, seed: int, pool: int, tokens: int
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return the batches of one pool of rows, each of about ``tokens`` tokens, shuffled."""
    random = Random(f"{seed} pool {pool}")
    shares = [shares for first, shares in SHARES_BY_POOL if first <= pool][-1]
    rows = [draw_row(tokenizer, random, shares) for _ in range(POOL_ROWS)]
    rows.sort(key=lambda row: len(row[0]))
    batches: list[tuple[torch.Tensor, torch.Tensor]] = []
    current: list[Row] = []
    for row in rows:
        if current and (len(current) + 1) * len(row[0]) > tokens:
            batches.append(collate(current, tokenizer))
            current = []
        current.append(row)
    random.shuffle(batches)
    return batches


def collate(rows: list[Row], tokenizer: Tokenizer) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and labels as tensors; padding stands at the end, where nothing can see it."""
    width = max(len(ids) for ids, _ in rows)
    pad = tokenizer.token_to_id(PAD)
    ids = torch.tensor([ids + [pad] * (width - len(ids)) for ids, _ in rows])
    labels = torch.tensor([lab + [IGNORED] * (width - len(lab)) for _, lab in rows])
    return ids, labels


def stream_batches(
    tokenizer: Tokenizer, seed: int, tokens: int, *, skip: int, rank: int, workers: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield one worker's batches without end, after its first ``skip``.

    Workers have streams of their own: no batch is of two workers.
    """
    pool = rank
    while True:
        batches = pool_batches(tokenizer, seed, pool, tokens)
        yield from batches[skip:]
        skip = max(0, skip - len(batches))
        pool += workers
