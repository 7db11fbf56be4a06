"""Reads recorded traffic: Azure's CSV, Mooncake's JSON lines, and ours; plain or gzipped.

The formats are told apart by the first line, not by the file's name.
  Azure     TIMESTAMP,ContextTokens,GeneratedTokens: no program, nothing shared.
  Mooncake  {"timestamp": ms, "input_length", "output_length", "hash_ids": one per 512 tokens}.
            Calls with the same second block (the first is shared by nearly all) are one program.
  ours      {"arrival_ns", "program", "owner", "call_site", "prompt_tokens", "output_tokens",
            "prefix": [[group, tokens], ...]}, one a line: calls share their equal leading pairs.
            May also have "priority", and an "outcome": one that was "failed" or "cancelled" is
            replayed with the tokens it had got, at least one. Other fields count for nothing.
            `llmos record` writes it.

A trace that names no owners gets OWNERS of them: the programs are dealt out among them in turn.
Arrivals are counted from the first one. Times that go backwards are put in order.
"""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.lab.call import MAX_GROUPS, Call
from ipc.errors import BadTraceError, UsageError
from ipc.protocol import DEFAULT_PRIORITY

OWNERS = 16
OUTCOMES = ("done", "failed", "cancelled")
TOKENS_PER_ID = 512  # of Mooncake's hash_ids
AZURE_FIELDS = ["TIMESTAMP", "ContextTokens", "GeneratedTokens"]
LAST_PRIORITY = 7  # of the wire
MAX_TOKENS = 10_000_000  # of one prompt or output; more is a mistake in the file

Row = dict[str, Any]
Names = dict[Any, int]


def read_trace(path: Path, limit: int | None = None) -> list[Call]:
    """Return the calls of a trace, at most `limit` of them, in the order of arrival.

    Raises:
        BadTraceError: a line that is not of its format. UsageError: it cannot be read.
    """
    found = list(_parsed(path, limit))
    if not found:
        raise BadTraceError(path=str(path), line=1, problem="there are no calls in it")
    found.sort(key=lambda call: call.arrival_ns)
    first = found[0].arrival_ns
    return [
        replace(call, number=number, arrival_ns=call.arrival_ns - first)
        for number, call in enumerate(found)
    ]


def _parsed(path: Path, limit: int | None) -> Iterator[Call]:
    lines = _lines(path)
    is_csv = bool(lines) and lines[0].startswith("TIMESTAMP")
    rows, parse = (_csv_rows, _azure) if is_csv else (_json_rows, _by_keys)
    programs: Names = {}
    for count, (number, line) in enumerate(rows(lines)):
        if count == limit:
            return
        try:
            yield parse(line, count, programs)
        except KeyError as problem:
            missing = f"there is no field {problem}"
            raise BadTraceError(path=str(path), line=number, problem=missing) from problem
        except (TypeError, ValueError, AttributeError, OverflowError) as problem:
            raise BadTraceError(path=str(path), line=number, problem=str(problem)) from problem


def _lines(path: Path) -> list[str]:
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
    except OSError as problem:
        raise UsageError(reason=f"{path}: {problem.strerror or problem}") from problem
    except (EOFError, zlib.error) as problem:
        raise UsageError(reason=f"{path}: the compressed file is damaged: {problem}") from problem
    try:
        return data.decode().splitlines()
    except UnicodeDecodeError as problem:
        line = data.count(b"\n", 0, problem.start) + 1
        raise BadTraceError(path=str(path), line=line, problem="it is no text") from problem


def _csv_rows(lines: list[str]) -> Iterator[tuple[int, Any]]:
    yield from enumerate(csv.DictReader(lines), 2)


def _json_rows(lines: list[str]) -> Iterator[tuple[int, Any]]:
    yield from ((number, line) for number, line in enumerate(lines, 1) if line.strip())


def _azure(row: Row, count: int, programs: Names) -> Call:
    if None in row.values() or None in row:
        raise ValueError(f"it has not the fields {', '.join(AZURE_FIELDS)}")
    # Python's reader takes six digits of a second, the file has seven.
    when = datetime.fromisoformat(row["TIMESTAMP"][:26])
    return Call(
        number=count,
        arrival_ns=_ns(when.timestamp() * 1e9),
        prompt_tokens=_tokens(int(row["ContextTokens"]), "ContextTokens"),
        output_tokens=_tokens(int(row["GeneratedTokens"]), "GeneratedTokens"),
        program=count + 1,
        owner=count % OWNERS + 1,
    )


def _by_keys(line: str, count: int, programs: Names) -> Call:
    row = json.loads(line)
    if not isinstance(row, dict):
        raise TypeError("it is no JSON object")
    parse: Callable[[Row, int, Names], Call] = _ours if "arrival_ns" in row else _mooncake
    return parse(row, count, programs)


def _mooncake(row: Row, count: int, programs: Names) -> Call:
    prompt = _tokens(row["input_length"], "input_length")
    ids = row["hash_ids"]
    if len(ids) != -(-prompt // TOKENS_PER_ID):
        raise ValueError(f"{len(ids)} hash_ids for {prompt} tokens")
    if not all(type(each) is int and 0 <= each < MAX_GROUPS for each in ids):
        raise ValueError("a hash id is no number that fits")
    name = ids[1] if len(ids) > 1 else f"call {count}"
    program = programs.setdefault(name, len(programs) + 1)
    return Call(
        number=count,
        arrival_ns=_ns(row["timestamp"] * 1e6),
        prompt_tokens=prompt,
        output_tokens=_tokens(row["output_length"], "output_length"),
        program=program,
        owner=program % OWNERS + 1,
        prefix=tuple((each, TOKENS_PER_ID) for each in ids),
    )


def _ours(row: Row, count: int, programs: Names) -> Call:
    prefix = tuple((_group(group), _tokens(length, "prefix")) for group, length in row["prefix"])
    outcome, output = row.get("outcome", "done"), row["output_tokens"]
    if outcome not in OUTCOMES:
        raise ValueError(f"outcome is {outcome!r}, it must be one of {', '.join(OUTCOMES)}")
    if outcome != "done" and type(output) is int and output == 0:
        output = 1  # it ended before its first token; the engine was at work on that one
    return Call(
        number=count,
        arrival_ns=_ns(row["arrival_ns"]),
        prompt_tokens=_tokens(row["prompt_tokens"], "prompt_tokens"),
        output_tokens=_tokens(output, "output_tokens"),
        program=programs.setdefault(("program", str(row["program"])), len(programs) + 1),
        owner=programs.setdefault(("owner", str(row["owner"])), len(programs) + 1),
        call_site=str(row["call_site"]),
        prefix=prefix,
        priority=_priority(row.get("priority", DEFAULT_PRIORITY)),
        outcome=outcome,
    )


def _priority(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= LAST_PRIORITY:
        raise ValueError(f"priority is {value!r}, it must be from 0 to {LAST_PRIORITY}")
    return value


def _tokens(value: Any, what: str) -> int:
    if type(value) is not int or not 0 < value <= MAX_TOKENS:
        raise ValueError(f"{what} is {value!r}, it must be a number of tokens, 1 to {MAX_TOKENS:,}")
    return value


def _group(value: Any) -> int:
    if type(value) is not int or not 0 <= value < MAX_GROUPS:
        raise ValueError(f"a prefix group is {value!r}, it must be from 0 to {MAX_GROUPS - 1}")
    return value


def _ns(value: float) -> int:
    if not 0 <= value < 2**62:
        raise ValueError(f"it comes at {value!r} ns")
    return round(value)
