"""The file of recorded traffic: written on a thread, bounded, whole up to the last batch."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from time import sleep

import pytest

from kernel.host.trace_file import TraceFile
from kernel.traffic import Traffic


def traffic(number: int) -> Traffic:
    return Traffic(number, number + 9, 1, 2, "site", 4, 70, 3, (5,), 64)


def wait_until(holds: Callable[[], bool]) -> None:
    for _ in range(2_000):
        if holds():
            return
        sleep(0.005)
    raise AssertionError("it never came")


@pytest.mark.parametrize("name", ["t.jsonl", "t.jsonl.gz"])
def test_what_is_written_before_the_stop_is_in_the_file(tmp_path: Path, name: str) -> None:
    path, file = tmp_path / name, TraceFile()
    file.start(str(path))
    for number in range(1_500):
        file.write(traffic(number))

    file.close()

    data = path.read_bytes()
    lines = (gzip.decompress(data) if name.endswith(".gz") else data).splitlines()
    assert [json.loads(line)["arrival_ns"] for line in lines] == list(range(1_500))
    assert json.loads(lines[0])["prefix"] == [[5, 64]]


def test_a_gzipped_file_that_was_cut_off_is_good_up_to_its_last_batch(tmp_path: Path) -> None:
    path, file = tmp_path / "t.jsonl.gz", TraceFile()
    file.start(str(path))
    file.write(traffic(1))

    wait_until(lambda: path.exists() and path.stat().st_size > 0)

    assert len(gzip.decompress(path.read_bytes()).splitlines()) == 1
    file.close()


def test_an_existing_file_is_left_as_it_is_and_that_is_told(tmp_path: Path) -> None:
    path, file = tmp_path / "t.jsonl", TraceFile()
    path.write_text("mine\n")

    file.start(str(path))
    wait_until(lambda: (report := file.take_report()) is not None and not report.is_open)
    file.write(traffic(1))
    file.start(str(tmp_path / "other.jsonl"))  # a new one may begin
    file.close()

    assert path.read_text() == "mine\n"
    assert (tmp_path / "other.jsonl").exists()


def test_what_the_disk_is_too_slow_for_is_counted_and_holds_up_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kernel.host.trace_file.MAX_WAITING", 10)
    path, file = tmp_path / "slow", TraceFile()
    os.mkfifo(path)  # to open it takes until somebody reads
    monkeypatch.setattr("kernel.host.trace_file.MODE", "wb")
    file.start(str(path))

    for number in range(25):
        file.write(traffic(number))
    with path.open("rb") as reader:
        file.stop()
        lines = reader.read().splitlines()
    file.close()

    report = file.last_report()
    assert report.dropped >= 14
    assert len(lines) == report.written
    assert report.written + report.dropped == 25
