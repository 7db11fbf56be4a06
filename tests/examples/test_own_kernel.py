"""What the examples share: their command line, and how many mistakes they forgive."""

from __future__ import annotations

import sys
from math import comb
from pathlib import Path

import pytest

from examples.fairness import allowed_mistakes
from examples.own_kernel import Options, own_kernel, read_options
from ipc.errors import BadModelError


def options(monkeypatch: pytest.MonkeyPatch, *words: str) -> Options:
    monkeypatch.setattr(sys, "argv", ["example.py", *words])
    return read_options("An example.", "lines", default=40)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--lines", "0"), "--lines is at least 1"),
        (("--model", ".", "--endpoint", "http://h/v1"), "not both"),
        (("--remote-model", "m"), "--endpoint"),
        (("--trained",), "--model"),
    ],
)
def test_options_that_contradict_each_other_start_nothing(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    problem: str,
) -> None:
    with pytest.raises(SystemExit) as ended:
        options(monkeypatch, *words)

    assert ended.value.code == 2
    assert problem in capsys.readouterr().err


def test_an_endpoint_becomes_the_model_that_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    given = options(monkeypatch, "--endpoint", "http://h/v1", "--remote-model", "m", "--json")

    assert given.spec is not None
    assert (given.spec["endpoint"], given.spec["remote_model"]) == ("http://h/v1", "m")
    assert (given.items, given.is_trained, given.as_json) == (40, False, True)


def test_a_model_that_cannot_be_used_is_said_in_words_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    given = options(monkeypatch, "--endpoint", "host:8000/v1")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    with pytest.raises(SystemExit) as ended, own_kernel(given):
        raise AssertionError("there is no such model")

    error = capsys.readouterr().err
    assert ended.value.code == 2
    assert "http://host:8000/v1" in error
    assert "Traceback" not in error
    assert list(tmp_path.iterdir()) == []
    assert BadModelError.template.partition("{")[0] in error


@pytest.mark.parametrize("count", [4, 12, 40, 100, 200])
@pytest.mark.parametrize("share", [0.95, 0.7])
def test_a_model_that_is_good_enough_passes_and_one_twice_as_wrong_does_not_for_long(
    count: int, share: float
) -> None:
    def passes(wrong: float) -> float:
        most = allowed_mistakes(count, share)
        return sum(
            comb(count, number) * wrong**number * (1 - wrong) ** (count - number)
            for number in range(most + 1)
        )

    assert passes(1 - share) > 0.94
    assert count < 200 or passes(2 * (1 - share)) < 0.25
