"""Traces: three formats, and lines that are of none."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from bench.lab.trace import read_trace
from ipc.errors import BadTraceError, UsageError

MOONCAKE = {"timestamp": 1500, "input_length": 600, "output_length": 7, "hash_ids": [0, 9]}
OURS = {
    "arrival_ns": 5,
    "program": "p",
    "owner": "o",
    "call_site": "s",
    "prompt_tokens": 40,
    "output_tokens": 3,
    "prefix": [[4, 30]],
}
AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n"


def write(path: Path, *rows: dict[str, object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_azure_rows_are_programs_of_their_own_that_share_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress((AZURE + "2023-11-16 18:15:48.1805900,374,6\n").encode()))

    first, second = read_trace(path)

    assert (first.arrival_ns, second.arrival_ns) == (0, pytest.approx(1_500_000_000, rel=1e-6))
    assert (second.prompt_tokens, second.output_tokens) == (374, 6)
    assert first.program != second.program
    assert first.tokens()[0] != second.tokens()[0]


def test_equal_hash_ids_give_equal_tokens_and_others_do_not(tmp_path: Path) -> None:
    path = write(tmp_path / "m.jsonl", MOONCAKE, MOONCAKE | {"hash_ids": [0, 8]})

    first, second = (call.tokens() for call in read_trace(path))

    assert len(first) == len(second) == 600
    assert np.array_equal(first[:512], second[:512])
    assert (first[512:] != second[512:]).all()


def test_a_priority_is_read_where_there_is_one(tmp_path: Path) -> None:
    path = write(tmp_path / "o.jsonl", OURS | {"priority": 1}, OURS)

    assert [call.priority for call in read_trace(path)] == [1, 4]


def test_a_call_that_was_cancelled_is_replayed_with_the_tokens_it_had_got(tmp_path: Path) -> None:
    early, late = {"outcome": "cancelled", "output_tokens": 0}, {"outcome": "failed"}
    path = write(tmp_path / "o.jsonl", OURS | early, OURS | late, OURS)

    calls = read_trace(path)

    assert [call.outcome for call in calls] == ["cancelled", "failed", "done"]
    assert [call.output_tokens for call in calls] == [1, 3, 3]


@pytest.mark.parametrize("wrong", [{"outcome": "lost"}, {"output_tokens": 0}, {"outcome": 3}])
def test_an_outcome_that_there_is_not_is_refused_with_its_line(
    tmp_path: Path, wrong: dict[str, object]
) -> None:
    path = write(tmp_path / "o.jsonl", OURS, OURS | wrong)

    with pytest.raises(BadTraceError, match=r"line 2: out(come|put_tokens) is"):
        read_trace(path)


def test_calls_of_our_format_share_their_equal_leading_groups(tmp_path: Path) -> None:
    path = write(tmp_path / "o.jsonl", OURS | {"arrival_ns": 9}, OURS)

    first, second = read_trace(path)

    assert (first.arrival_ns, second.arrival_ns) == (0, 4)
    assert (first.program, first.owner) == (second.program, second.owner)
    assert np.array_equal(first.tokens()[:30], second.tokens()[:30])
    assert (first.tokens()[30:] != second.tokens()[30:]).all()


def test_a_limit_takes_the_first_calls(tmp_path: Path) -> None:
    path = write(tmp_path / "m.jsonl", *[MOONCAKE] * 5)

    assert len(read_trace(path, 3)) == 3


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (json.dumps(MOONCAKE) + '\n{"timestamp": 1}\n', 2),
        (json.dumps(MOONCAKE) + "\n\nnot json\n", 3),
        (json.dumps(MOONCAKE | {"hash_ids": [1]}) + "\n", 1),
        (json.dumps(MOONCAKE | {"output_length": 0}) + "\n", 1),
        (json.dumps(MOONCAKE | {"timestamp": -1}) + "\n", 1),
        (json.dumps(OURS | {"prefix": [[1]]}) + "\n", 1),
        (json.dumps(OURS | {"prompt_tokens": "many"}) + "\n", 1),
        ("[1, 2]\n", 1),
        (AZURE + "2023-11-16 18:15:48,12\n", 3),
        (AZURE + "yesterday,12,13\n", 3),
        ("", 1),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, text: str, line: int) -> None:
    path = tmp_path / "trace"
    path.write_text(text)

    with pytest.raises(BadTraceError) as caught:
        read_trace(path)

    assert (caught.value.path, caught.value.line) == (str(path), line)


def test_a_file_that_is_not_there_or_cut_off_is_refused(tmp_path: Path) -> None:
    cut = tmp_path / "cut.gz"
    cut.write_bytes(gzip.compress(AZURE.encode())[:30])

    with pytest.raises(UsageError, match="nothing: No such file"):
        read_trace(tmp_path / "nothing")
    with pytest.raises(UsageError, match=r"cut\.gz: the compressed file is damaged"):
        read_trace(cut)


def test_what_is_no_text_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    path.write_bytes(json.dumps(MOONCAKE).encode() + b"\n\xff\xfe\n")

    with pytest.raises(BadTraceError, match="line 2: it is no text"):
        read_trace(path)
