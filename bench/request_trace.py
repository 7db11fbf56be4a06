"""Traces of LLM requests with their arrival times, read or generated.

Two formats, plain or gzipped: Azure's CSV (TIMESTAMP, ContextTokens, GeneratedTokens) and
Mooncake's JSON lines (timestamp in ms, input_length, output_length, hash_ids, one per 512 tokens).
"""

from __future__ import annotations

import csv
import gzip
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path


@dataclass(frozen=True, slots=True)
class TimedRequest:
    """One request. ids: equal leading ids mean equal leading content, 512 tokens each."""

    arrival_s: float
    prompt_tokens: int
    output_tokens: int
    ids: tuple[int, ...] = ()


def read_requests(path: Path) -> list[TimedRequest]:
    """Read a trace; the file's name says which format it is.

    Raises:
        ValueError: a line that is not of the format; says which.
    """
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    lines = data.decode().splitlines()
    parse = _azure if ".csv" in path.name else _mooncake
    found = list(parse(path, lines))
    first = found[0].arrival_s if found else 0.0
    return [
        TimedRequest(each.arrival_s - first, each.prompt_tokens, each.output_tokens, each.ids)
        for each in found
    ]


def _azure(path: Path, lines: list[str]) -> Iterator[TimedRequest]:
    for number, row in enumerate(csv.DictReader(lines), 2):
        try:
            # Python's reader takes six digits of a second, the file has seven.
            when = datetime.fromisoformat(row["TIMESTAMP"][:26])
            tokens = int(row["ContextTokens"]), int(row["GeneratedTokens"])
        except (KeyError, TypeError, ValueError) as problem:
            raise ValueError(f"{path}, line {number}: {problem}") from problem
        yield TimedRequest(when.timestamp(), *tokens)


def _mooncake(path: Path, lines: list[str]) -> Iterator[TimedRequest]:
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            arrival_s = row["timestamp"] / 1000
            tokens = int(row["input_length"]), int(row["output_length"])
            ids = tuple(map(int, row["hash_ids"]))
        except (KeyError, TypeError, ValueError) as problem:
            raise ValueError(f"{path}, line {number}: {problem}") from problem
        yield TimedRequest(arrival_s, *tokens, ids)


def generated_requests(conversations: int = 150, seed: int = 1) -> list[TimedRequest]:
    """Return conversations with a habit each: its answers are about as long as its last ones."""
    numbers = random.Random(seed)
    found = []
    for conversation in range(conversations):
        when = numbers.uniform(0, 600)
        habit = numbers.lognormvariate(5, 0.8)
        prompt_tokens = 600
        for _ in range(numbers.randint(1, 12)):
            output_tokens = max(1, round(habit * numbers.lognormvariate(0, 0.3)))
            blocks = prompt_tokens // 512
            ids = (0, *(1000 * (conversation + 1) + block for block in range(blocks)))
            found.append(TimedRequest(when, prompt_tokens, output_tokens, ids))
            prompt_tokens += output_tokens + numbers.randint(20, 400)
            when += numbers.expovariate(1 / 30)
    found.sort(key=lambda each: each.arrival_s)
    return found


def conversation_of(request: TimedRequest, index: int) -> str:
    """Return what stands for a request's program: the block after the one that all share.

    A request without one is a program of its own.
    """
    return f"c{request.ids[1]}" if len(request.ids) > 1 else f"r{index}"
