"""The command line against a real kernel and real agents, from a user's own folder.

The folder has packages called ``actors`` and ``kernel`` of its own that must not be imported.
"""

import json
import os
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from actors.cli.exits import Exit
from ipc.start import own_python

pytestmark = pytest.mark.slow

COUNTER = """
from actors import Actor, receive

class Counter(Actor):
    @receive
    async def add(self, amount: int) -> int:
        self.state["total"] = self.state.get("total", 0) + amount
        return self.state["total"]

    @receive
    async def boom(self) -> None:
        raise RuntimeError("boom")
"""


class Shell:
    """Runs `llmos` in a user's folder, with a home of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Short: a socket's path has at most 107 bytes.
        self.home = folder / "h"
        kept = {key: value for key, value in os.environ.items() if not key.startswith("LLMOS_")}
        self.environment = {**kept, "LLMOS_HOME": str(self.home)}

    def __call__(self, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            own_python("actors.cli.main", *words),
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=250,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def json(self, *words: str) -> object:
        return json.loads(self(*words, "--json").stdout)


def users_folder(folder: Path) -> Path:
    for name in ("actors", "kernel"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise ImportError('the user\\'s own')")
    (folder / "counter.py").write_text(COUNTER)
    return folder


@contextmanager
def with_kernel(shell: Shell) -> Iterator[Shell]:
    shell("up", "--daemon")
    yield shell
    pid = (shell.home / "kernel.pid").read_text().strip()
    if pid:
        shell("down")


@pytest.fixture
def idle_shell(tmp_path: Path) -> Shell:
    """No kernel runs."""
    return Shell(users_folder(tmp_path))


@pytest.fixture
def own_shell(idle_shell: Shell) -> Iterator[Shell]:
    """A kernel of the test's own, which it may end."""
    with with_kernel(idle_shell) as shell:
        yield shell


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """One kernel for all tests that leave it alone: most of what such a test costs is its start."""
    with with_kernel(Shell(users_folder(tmp_path_factory.mktemp("live")))) as shell:
        yield shell


def test_an_agent_keeps_its_state_through_kill_down_and_up(own_shell: Shell) -> None:
    own_shell("spawn", "counter.py:Counter", "--as", "hits")
    assert own_shell("ask", "hits", "add", "amount=5").stdout == "5\n"
    own_shell("tell", "hits", "add", "1")

    os.kill(own_shell.json("inspect", "hits")["pid"], signal.SIGKILL)  # type: ignore[index]
    assert own_shell("ask", "hits", "add", "2").stdout == "8\n"
    own_shell("down")
    own_shell("ps", code=Exit.NO_KERNEL)
    own_shell("up", "--daemon")

    assert own_shell("ask", "hits", "add", "2").stdout == "10\n"
    (line,) = own_shell.json("ps")  # type: ignore[misc]
    assert (line["name"], line["target"]) == ("hits", "counter.py:Counter")


def test_errors_of_agents_come_with_their_traceback_and_exit_code(shell: Shell) -> None:
    shell("spawn", "counter.py:Counter", "--as", "hits")

    failed = shell("ask", "hits", "boom", code=Exit.FAILED)
    assert f'File "{shell.folder / "counter.py"}"' in failed.stderr
    assert "actors/execution.py" not in failed.stderr
    assert "expected int" in shell("ask", "hits", "add", "five", code=Exit.USAGE).stderr
    assert "add, boom" in shell("ask", "hits", "ad", code=Exit.NOT_FOUND).stderr
    assert "did you mean hits" in shell("ask", "hit", "add", code=Exit.NOT_FOUND).stderr


def test_a_class_that_cannot_be_loaded_is_told_at_the_spawn(shell: Shell) -> None:
    (shell.folder / "broken.py").write_text("import nosuchmodule\n")

    failed = shell("spawn", "broken.py:Broken", code=Exit.BAD_CLASS)

    assert f'File "{shell.folder / "broken.py"}", line 1' in failed.stderr
    assert "No module named 'nosuchmodule'" in failed.stderr
    assert "actors/loader.py" not in failed.stderr


def test_an_unknown_handler_of_a_tell_makes_a_dead_letter(shell: Shell) -> None:
    shell("spawn", "counter.py:Counter", "--as", "letters")
    shell("tell", "letters", "nosuch", "3")
    shell("ask", "letters", "add", "1")  # in order: the tell has been handled before

    (letter,) = shell.json("dead-letters", "list")  # type: ignore[misc]
    shown = shell("dead-letters", "show", str(letter["number"])).stdout
    shell("dead-letters", "drop", str(letter["number"]))

    assert letter["reason"] == "no_handler"
    assert "nosuch(3)" in shown
    assert shell.json("dead-letters", "list") == []


def test_a_second_kernel_in_the_same_home_is_refused(shell: Shell) -> None:
    assert "in use" in shell("up", "--daemon", code=Exit.OPERATOR).stderr


def test_a_journal_that_is_refused_says_so_once_however_often_it_is_tried(
    own_shell: Shell,
) -> None:
    own_shell("down")
    with sqlite3.connect(own_shell.home / "journal.db") as connection:
        connection.execute("INSERT INTO budget VALUES (7, 'wrong')")
    connection.close()

    first = own_shell("up", "--daemon", code=Exit.OPERATOR).stderr
    again = own_shell("up", "--daemon", code=Exit.OPERATOR).stderr

    assert first == again
    assert first.count("bad record in budget, key 7: row: it is str, not bytes") == 1


def test_an_unknown_configuration_key_is_named(idle_shell: Shell) -> None:
    (idle_shell.folder / "c.toml").write_text("nosuch_key = 1\n")

    failed = idle_shell("up", "--daemon", "--config", "c.toml", code=Exit.USAGE)

    assert "nosuch_key" in failed.stderr


def test_down_ends_also_when_no_agent_lives(own_shell: Shell) -> None:
    # The kernel used to be gone before its answer was out, and the command waited for ever.
    assert "has stopped" in own_shell("down").stdout
    assert "no kernel is running" in own_shell("down", code=Exit.NO_KERNEL).stderr


def test_kill_ends_an_agent_for_good(shell: Shell) -> None:
    shell("spawn", "counter.py:Counter", "--as", "doomed")

    assert shell("kill", "doomed").stdout == "terminated doomed\n"
    assert "doomed" not in shell("ps").stdout
    shell("ask", "doomed", "add", "1", code=Exit.NOT_FOUND)


def test_restart_replaces_the_process(shell: Shell) -> None:
    shell("spawn", "counter.py:Counter", "--as", "replaced")
    shell("ask", "replaced", "add", "3")
    before = shell.json("inspect", "replaced")["pid"]  # type: ignore[index]

    shell("restart", "replaced")

    assert shell.json("inspect", "replaced")["pid"] != before  # type: ignore[index]
    assert shell("ask", "replaced", "add", "1").stdout == "4\n"


def test_the_doctor_finds_a_machine_that_runs_the_tests_in_order(shell: Shell) -> None:
    found = {one["check"]: one for one in shell.json("doctor")}  # type: ignore[attr-defined]

    assert found["spawn"]["state"] != "failed"
    assert str(shell.folder / "actors") in found["names"]["detail"]


def test_the_demo_loses_nothing_and_counts_nothing_twice(idle_shell: Shell) -> None:
    library = idle_shell.folder / "library"
    for number in range(400):
        path = library / f"part{number % 7}" / f"module{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"def f{number}(a, b):\n    return a + b * {number}\n" * 40)
    (library / "broken.py").write_text("'''never ends")

    outcome = json.loads(
        idle_shell("demo", "--index", "--root", str(library), "--home", "d", "--json").stdout
    )

    assert outcome["equal"] is True
    assert outcome["files"] == 401
    assert outcome["identifiers"] == outcome["expected"]["identifiers"] == 400 * 40 * 5
    assert outcome["messages"] == 1 + 8 + 2 * 401


def test_a_kernel_by_name_is_found_from_every_environment(tmp_path: Path) -> None:
    # It used to listen where `up` was told, and the others looked in $XDG_RUNTIME_DIR.
    (tmp_path / "run").mkdir(mode=0o700)
    shell = Shell(tmp_path)
    del shell.environment["LLMOS_HOME"]
    shell.environment |= {"XDG_STATE_HOME": str(tmp_path / "s"), "LLMOS_NAME": "work"}
    shell.environment["XDG_RUNTIME_DIR"] = str(tmp_path / "run")
    shell("up", "--daemon")
    try:
        shell("status")
        del shell.environment["XDG_RUNTIME_DIR"]
        shell("status")
    finally:
        shell("down")


def test_reservations_and_changes_of_the_machine_outlive_the_kernel(own_shell: Shell) -> None:
    own_shell("spawn", "counter.py:Counter", "--as", "hits", "--reserve", "cpu=0.5,memory=64MiB")
    refused = own_shell(
        "spawn", "counter.py:Counter", "--reserve", "cpu=100000", code=Exit.OVERLOADED
    )
    own_shell("resources", "add", "licence", "3")
    own_shell("resources", "drain", "memory")

    os.kill(int((own_shell.home / "kernel.pid").read_text()), signal.SIGKILL)
    own_shell("up", "--daemon")

    assert "too few" in refused.stderr
    report = own_shell.json("resources")
    found = {info["name"]: info for info in report["resources"]}  # type: ignore[call-overload, index]
    assert found["cpu"]["holders"] == {"hits": 500}
    assert found["licence"]["capacity"] == 3
    assert found["memory"]["state"] == "draining"
    assert "hits" in own_shell("resources").stdout
