"""The command `logs`."""

from itertools import islice
from pathlib import Path

import pytest

from actors.cli.exits import Exit
from actors.cli.logs import CHUNK_BYTES, followed, last_lines
from ipc.errors import KernelUnavailableError
from tests.actors.cli.fake import Terminal, agent, terminal


def test_the_last_lines_of_a_long_file_are_found_from_its_end(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("".join(f"line {number} {'x' * 40}\n" for number in range(5000)))

    lines, end = last_lines(path, 3)

    assert [line.split()[1] for line in lines] == ["4997", "4998", "4999"]
    assert end == path.stat().st_size > CHUNK_BYTES
    assert len(last_lines(path, 10**6)[0]) == 5000
    assert last_lines(path, 0)[0] == []


def test_following_yields_what_is_added_and_survives_truncation(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("old\n")
    writes = iter(["old\nnew\n", "old\nnew\nmore\n", "cut\n"])

    texts = followed(path, 4, lambda _: path.write_text(next(writes)) and None)

    assert list(islice(texts, 3)) == ["new\n", "more\n", "cut\n"]


def test_a_living_agents_log_is_where_the_kernel_says(llmos: Terminal, tmp_path: Path) -> None:
    path = tmp_path / "somewhere.log"
    path.write_text("one\ntwo\n")
    llmos.client.answers["inspect"] = {**agent(12, "hits"), "log_path": str(path)}

    assert llmos("logs", "hits", "-n", "1").stdout == "two\n"


def test_without_a_kernel_logs_are_read_from_the_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    llmos = terminal(monkeypatch, KernelUnavailableError(home=str(tmp_path)))
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "hits-12.log").write_text("mine\n")
    (tmp_path / "logs" / "kernel.log").write_text("{}\n")

    assert llmos("logs", "hits", "--home", str(tmp_path)).stdout == "mine\n"
    assert llmos("logs", "12", "--home", str(tmp_path)).stdout == "mine\n"
    assert llmos("logs", "--home", str(tmp_path)).stdout == "{}\n"
    assert llmos("logs", "other", "--home", str(tmp_path)).exit_code == Exit.NOT_FOUND
