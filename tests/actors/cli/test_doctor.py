"""The checks of `llmos doctor` that need no kernel."""

import resource
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from actors.cli import checks, doctor, kernel_process, live_checks
from actors.cli.checks import Finding
from ipc.home import Home, home_at
from ipc.start import PACKAGE_ROOT


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return home_at(tmp_path / "home")


@pytest.mark.parametrize(
    "check",
    [
        checks.python_version,
        checks.extension,
        checks.sqlite,
        checks.journal,
        checks.permissions,
        live_checks.kernel,
        live_checks.stale_socket,
    ],
)
def test_a_fresh_home_on_this_machine_is_in_order(check: checks.Check, home: Home) -> None:
    assert check(home).state == "ok"
    assert not home.state_dir.exists()


def test_an_old_sqlite_is_refused(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 30, 0))

    assert checks.sqlite(home).state == "failed"


def test_a_token_that_others_can_read_is_found(home: Home) -> None:
    home.state_dir.mkdir(mode=0o700)
    home.operator_token.write_text("secret")
    home.operator_token.chmod(0o644)

    finding = checks.permissions(home)

    assert finding.state == "warning"
    assert str(home.operator_token) in finding.detail
    assert "chmod" in str(finding.remedy)


def test_a_socket_without_a_kernel_is_called_stale(home: Home) -> None:
    home.state_dir.mkdir()
    home.socket.touch()

    assert live_checks.stale_socket(home).state == "warning"


def test_a_folder_with_the_name_of_one_of_our_packages_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Home
) -> None:
    mine = tmp_path / "actors"
    mine.mkdir()
    (mine / "hello.py").touch()
    (tmp_path / "kernel").mkdir()  # holds no Python: no clash
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)

    finding = checks.shadows(home)

    assert finding.state == "warning"
    assert str(mine) in finding.detail
    assert str(tmp_path / "kernel") not in finding.detail


def test_our_own_source_tree_is_no_clash(monkeypatch: pytest.MonkeyPatch, home: Home) -> None:
    monkeypatch.chdir(PACKAGE_ROOT)
    monkeypatch.delenv("PYTHONPATH", raising=False)

    assert checks.shadows(home).state == "ok"


@pytest.mark.parametrize(("text", "limit"), [("512\n", 512), ("max\n", None)])
def test_the_limit_of_a_control_group_is_read(tmp_path: Path, text: str, limit: int | None) -> None:
    (tmp_path / "pids.max").write_text(text)

    assert checks.cgroup_processes(tmp_path) == limit


def test_few_processes_are_warned_of(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "cgroup_processes", lambda: 64)

    assert checks.processes(home).state == "warning"


def test_few_descriptors_are_warned_of(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, resource.RLIM_INFINITY))

    finding = checks.open_files(home)

    assert (finding.state, finding.detail) == ("warning", "256 per process, at most unlimited")


def test_a_slow_spawn_is_warned_of_and_explained(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_checks, "SLOW_SPAWN_MS", 0.0)

    finding = live_checks.process_start(home)

    assert finding.state == "warning"
    assert "first agent" in (finding.remedy or "")


def test_a_check_that_breaks_has_failed_and_the_others_still_run(home: Home) -> None:
    def open_sesame(_: Home) -> Finding:
        raise OSError("no such cave")

    first, second = doctor.examine((open_sesame, checks.python_version), home)

    assert (first.check, first.state) == ("open sesame", "failed")
    assert "no such cave" in first.detail
    assert second.state == "ok"


def test_where_no_controller_is_ours_it_says_how_cpu_limits_can_be_had(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_checks, "bound_to_version_1", frozenset)
    monkeypatch.setattr(live_checks, "usable_controllers", frozenset)
    without = live_checks.limits(home)
    monkeypatch.setattr(live_checks, "usable_controllers", lambda: {"cpu", "memory", "pids"})
    whole = live_checks.limits(home)

    assert "rlimits and niceness" in without.detail
    assert without.remedy is not None
    assert "Delegate=yes" in without.remedy
    assert whole.detail == "control groups (cpu, memory, pids)"
    assert whole.remedy is None


def test_controllers_that_version_1_has_are_named_with_what_frees_them(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_checks, "usable_controllers", frozenset)
    monkeypatch.setattr(live_checks, "bound_to_version_1", lambda: {"pids", "cpu"})

    found = live_checks.limits(home)

    assert found.remedy is not None
    assert found.remedy.startswith("cpu, pids are mounted as control groups of version 1")


def test_what_a_kernel_says_that_does_not_start_is_what_is_told(
    home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def start_badly(where: Home, **rest: Any) -> kernel_process.Started:
        settings = kernel_process.Settings(config=tmp_path / "missing.toml")
        return kernel_process.start_kernel(where, settings, **rest)

    monkeypatch.setattr(live_checks, "start_kernel", start_badly)

    finding = live_checks.process_start(home)

    assert finding.state == "failed"
    assert "missing.toml" in finding.detail
