"""kernel/resources/agent_groups.py, in a tree of plain files, and in the machine's own groups.

In plain files the kernel does not answer: what it would put there (the files of a new group) the
tests put there.
"""

import os
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.child import enter_group
from ipc.control_groups import Hierarchy
from kernel.resources.agent_groups import AgentGroups, GroupLimits, open_groups

ALL = frozenset({"cpu", "memory", "pids"})


def tree(root: Path, controllers: str = "cpu memory pids io") -> list[Hierarchy]:
    """Make what the kernel has in a group with these controllers, enabled below."""
    for directory in (root, root / "llmos-t"):
        directory.mkdir(exist_ok=True)
        (directory / "cgroup.controllers").write_text(controllers)
        (directory / "cgroup.subtree_control").write_text(controllers)
        (directory / "cgroup.procs").write_text("")
    return [Hierarchy(2, frozenset(), root, root)]


def test_a_group_gets_its_weight_and_limits(tmp_path: Path) -> None:
    groups = open_groups("t", tree(tmp_path))

    recipe = groups.recipe(5, 1, GroupLimits(300, 1500, 1 << 30, 1 << 20, 64))

    assert groups.controllers == ALL
    assert recipe == {
        "directory": f"{tmp_path}/llmos-t/5.1",
        "files": {
            "cpu.weight": "300",
            "cpu.max": "150000 100000",
            "memory.max": str(1 << 30),
            "memory.low": str(1 << 20),
            "memory.oom.group": "1",
            "pids.max": "64",
        },
    }


def test_a_quota_too_small_for_the_kernel_is_the_smallest_it_takes(tmp_path: Path) -> None:
    recipe = open_groups("t", tree(tmp_path)).recipe(5, 1, GroupLimits(cpu_millis=1))

    assert recipe["files"]["cpu.max"] == "1000 100000"


def test_only_the_controllers_handed_down_are_used(tmp_path: Path) -> None:
    groups = open_groups("t", tree(tmp_path, "pids"))

    recipe = groups.recipe(5, 1, GroupLimits(300, 1500, 1 << 30, 1 << 20, 64))

    assert recipe["files"] == {"pids.max": "64"}
    assert not groups.weigh(5, 1, 200)


def test_an_agent_makes_its_group_by_the_recipe_and_enters_it(tmp_path: Path) -> None:
    recipe = open_groups("t", tree(tmp_path)).recipe(5, 1, GroupLimits(weight=300))

    enter_group(recipe)

    directory = tmp_path / "llmos-t" / "5.1"
    assert (directory / "cpu.weight").read_text() == "300"
    assert (directory / "cgroup.procs").read_text() == "0"


def test_a_group_that_cannot_be_made_is_told_in_the_agents_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")

    enter_group({"directory": str(tmp_path / "file" / "5.1"), "files": {}})

    assert "limits are not kept by control group" in capsys.readouterr().err


def test_without_controllers_nothing_is_made_before_an_agent_needs_it(tmp_path: Path) -> None:
    groups = open_groups("t", [*bare(tmp_path)])
    assert not (tmp_path / "llmos-t").exists()

    enter_group(groups.recipe(5, 1, GroupLimits()))

    assert (tmp_path / "llmos-t" / "5.1").is_dir()
    groups.close()


def bare(root: Path) -> list[Hierarchy]:
    """Make a group without controllers."""
    (root / "cgroup.procs").write_text("")
    return [Hierarchy(2, frozenset(), root, root)]


def test_without_control_groups_the_reason_is_told(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="not mounted"):
        open_groups("t", [Hierarchy(1, frozenset({"cpu"}), tmp_path, tmp_path)])


def test_a_kernel_started_from_the_room_of_another_goes_to_the_same_place(tmp_path: Path) -> None:
    tree(tmp_path)
    room = tmp_path / "llmos-t" / "kernel"
    room.mkdir()
    groups = open_groups("t", [Hierarchy(2, frozenset(), tmp_path, room)])

    assert groups.recipe(5, 1, GroupLimits())["directory"] == f"{tmp_path}/llmos-t/5.1"


@pytest.fixture
def groups() -> Iterator[AgentGroups]:
    """Groups of this machine, removed afterwards."""
    try:
        groups = open_groups(f"test-{os.getpid()}")
    except OSError as error:
        pytest.skip(f"control groups cannot be made here: {error}")
    yield groups
    groups.discard(5, 1)
    while groups.tidy():
        pass
    groups.close()


ESCAPING = """
import os, sys, time
from actors.child import enter_group
enter_group({recipe!r})
for _ in range(20):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0: time.sleep(1000)
        os._exit(0)
    os.wait()
print("done", flush=True)
time.sleep(1000)
"""


@pytest.fixture
def process(groups: AgentGroups) -> Iterator["subprocess.Popen[bytes]"]:
    """A process in a group, with 20 descendants that have sessions and parents of their own."""
    recipe = groups.recipe(5, 1, GroupLimits())
    code = ESCAPING.format(recipe=recipe)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"done\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def members(groups: AgentGroups) -> list[int]:
    directory = Path(groups.recipe(5, 1, GroupLimits())["directory"])
    return [int(line) for line in (directory / "cgroup.procs").read_text().split()]


def have_died(descriptors: list[int]) -> bool:
    for descriptor in descriptors:
        if not select.select([descriptor], [], [], 20)[0]:
            return False
        os.close(descriptor)
    return True


def test_all_in_a_dead_agents_group_are_killed_whatever_session_or_parent_they_have(
    groups: AgentGroups, process: "subprocess.Popen[bytes]"
) -> None:
    descriptors = [os.pidfd_open(pid) for pid in members(groups)]
    assert len(descriptors) == 21

    groups.discard(5, 1)

    assert have_died(descriptors)


def test_a_group_is_removed_once_it_is_empty(
    groups: AgentGroups, process: "subprocess.Popen[bytes]"
) -> None:
    directory = Path(groups.recipe(5, 1, GroupLimits())["directory"])
    assert not groups.tidy()
    assert directory.is_dir()

    groups.discard(5, 1)
    process.wait()
    while groups.tidy():
        pass

    assert not directory.exists()


def test_a_group_of_the_kernel_before_is_found_by_its_process(
    groups: AgentGroups, process: "subprocess.Popen[bytes]"
) -> None:
    descriptors = [os.pidfd_open(pid) for pid in members(groups)]
    next_kernel = open_groups(f"test-{os.getpid()}")
    next_kernel.adopt(5, 1, process.pid)
    assert not next_kernel.tidy()

    next_kernel.discard(5, 1)

    assert have_died(descriptors)


def busy_base(root: Path, *pids: int) -> Path:
    """Make a group that will not hand controllers down, as one that holds these processes."""
    tree(root)
    (root / "cgroup.subtree_control").unlink()
    (root / "cgroup.procs").write_text("\n".join(map(str, pids)))
    room = root / "llmos-t" / "kernel"
    room.mkdir()
    (room / "cgroup.procs").write_text("")
    return room / "cgroup.procs"


def test_the_kernel_makes_room_in_a_group_that_was_handed_over_to_it(tmp_path: Path) -> None:
    moved = busy_base(tmp_path, os.getpid())

    open_groups("t", [Hierarchy(2, frozenset(), tmp_path, tmp_path)])

    assert moved.read_text() == str(os.getpid())


def test_nobody_is_moved_who_did_not_start_the_kernel(tmp_path: Path) -> None:
    stranger = subprocess.Popen(["sleep", "1000"])
    try:
        moved = busy_base(tmp_path, os.getpid(), stranger.pid)

        open_groups("t", [Hierarchy(2, frozenset(), tmp_path, tmp_path)])

        assert moved.read_text() == ""
    finally:
        stranger.kill()
        stranger.wait()


def test_nobody_is_moved_in_a_group_that_was_not_handed_over(tmp_path: Path) -> None:
    base = tmp_path / "session.scope"
    base.mkdir()
    moved = busy_base(base, os.getpid())

    open_groups("t", [Hierarchy(2, frozenset(), tmp_path, base)])

    assert moved.read_text() == ""
