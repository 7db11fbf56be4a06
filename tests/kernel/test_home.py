"""ipc/home.py (paths), kernel/host/home.py (directories and lock), ipc/running.py."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ipc.errors import BadHomeError, HomeInUseError, UsageError
from ipc.home import MAX_SOCKET_PATH, home_at, named_home
from ipc.running import running_pid
from ipc.start import PACKAGE_ROOT
from kernel.host.home import hold_home


def test_a_named_home_is_in_the_xdg_state_directory() -> None:
    home = named_home("work", {"XDG_STATE_HOME": "/s", "HOME": "/h"})

    assert str(home.journal) == "/s/llmos/work/journal.db"
    assert home.endpoint == "ipc:///s/llmos/work/kernel.sock"
    assert str(home.kernel_log) == "/s/llmos/work/logs/kernel.log"


@pytest.mark.parametrize("length", [3, 120])
def test_whoever_knows_the_state_directory_finds_the_socket(tmp_path: Path, length: int) -> None:
    state = tmp_path / ("s" * length)
    (tmp_path / "link").symlink_to(state)

    homes = [
        named_home("work", {"XDG_STATE_HOME": str(state), "XDG_RUNTIME_DIR": "/run/user/1000"}),
        named_home("work", {"XDG_STATE_HOME": str(tmp_path / "link")}),
        home_at(state / "llmos" / "work"),
    ]

    assert len({home.socket for home in homes}) == 1


def test_without_xdg_variables_all_is_under_the_users_home() -> None:
    home = named_home(environment={"HOME": "/h", "XDG_STATE_HOME": "relative/is/ignored"})

    assert str(home.state_dir) == "/h/.local/state/llmos/default"
    assert home.socket_dir == home.state_dir


def test_a_home_directory_holds_everything(tmp_path: Path) -> None:
    home = home_at(tmp_path / "a")

    for path in (home.journal, home.socket, home.lock, home.operator_token, home.kernel_log):
        assert path.is_relative_to(tmp_path / "a")


def test_a_socket_path_fits_whatever_the_home(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100)

    home, other = home_at(deep), home_at(tmp_path / ("e" * 100))

    assert len(os.fsencode(home.socket)) <= MAX_SOCKET_PATH
    assert home.socket != other.socket


@pytest.mark.parametrize("name", ["", "..", "a/b", "-x", "x" * 65])
def test_a_name_that_is_no_directory_name_is_refused(name: str) -> None:
    with pytest.raises(UsageError):
        named_home(name, {})


def test_log_files_of_odd_names_stay_in_their_directory() -> None:
    home = home_at("/x")

    assert home.log_path(7, "../../etc/pass wd").parent == home.logs
    assert home.log_path(7, "a/b") != home.log_path(8, "a/b")


def test_directories_are_the_owners_alone(tmp_path: Path) -> None:
    home = home_at(tmp_path / "h")
    lock = hold_home(home)

    assert [(d.stat().st_mode & 0o777) for d in (home.state_dir, home.logs)] == [0o700, 0o700]
    lock.release()


def test_a_second_kernel_in_the_same_home_is_refused_by_pid(tmp_path: Path) -> None:
    home = home_at(tmp_path / "h")
    lock = hold_home(home)

    with pytest.raises(HomeInUseError) as caught:
        hold_home(home)

    assert caught.value.pid == os.getpid()
    assert running_pid(home) == os.getpid()
    lock.release()
    assert running_pid(home) is None
    hold_home(home).release()


def test_the_lock_of_a_killed_kernel_and_its_socket_are_cleared(tmp_path: Path) -> None:
    home = home_at(tmp_path / "h")
    code = (
        "from ipc.home import *; from kernel.host.home import *; import signal, sys, socket\n"
        "home = home_at(sys.argv[1]); hold_home(home)\n"
        "socket.socket(socket.AF_UNIX).bind(str(home.socket)); print('held', flush=True)\n"
        "signal.pause()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(home.state_dir)], cwd=PACKAGE_ROOT, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"held\n"
    assert running_pid(home) == child.pid
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert home.socket.exists()

    lock = hold_home(home)
    left = home.socket.exists()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(home.socket))
    lock.release()

    assert not left


def test_a_directory_others_may_write_to_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)

    with pytest.raises(BadHomeError, match="others"):
        hold_home(home_at(tmp_path))


def test_a_file_in_the_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(BadHomeError):
        hold_home(home_at(tmp_path / "file"))
    with pytest.raises(BadHomeError):
        hold_home(home_at(tmp_path / "file" / "below"))


def test_a_directory_that_cannot_be_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may write everywhere

    with pytest.raises(BadHomeError, match="cannot be written"):
        hold_home(home_at(tmp_path / "h"))
