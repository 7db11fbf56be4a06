"""kernel/resources: the machine as it is read, and what limits this process there."""

import os
import time
from pathlib import Path

import pytest

from ipc.control_groups import (
    Hierarchy,
    bound_to_version_1,
    cpu_quota_millis,
    memory_limit,
    read_hierarchies,
    usable_controllers,
)
from kernel.resources.gpus import Gpus
from kernel.resources.node_sampler import NodeSampler, busy_ns

STAT = """cpu  1 1 1 1 1 1 1 1 0 0
cpu0 100 10 50 9000 5 1 4 0 0 0
cpu1 200 0 0 9000 5 0 0 0 0 0
cpu12 7 0 0 0 0 0 0 0 0 0
intr 5
"""


def version_2(mount: Path, *names: str) -> list[Hierarchy]:
    group = mount.joinpath(*names)
    group.mkdir(parents=True)
    return [Hierarchy(2, frozenset(), mount, group)]


def test_only_the_cpus_that_may_be_used_count() -> None:
    tick_ns = 1_000_000_000 // os.sysconf("SC_CLK_TCK")

    assert busy_ns(STAT, {0}) == 165 * tick_ns
    assert busy_ns(STAT, {1, 12}) == 207 * tick_ns


def test_the_smallest_quota_on_the_path_to_the_root_binds(tmp_path: Path) -> None:
    groups = version_2(tmp_path, "a", "b")
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "a" / "cpu.max").write_text("150000 100000\n")
    (tmp_path / "a" / "b" / "cpu.max").write_text("max 100000\n")

    assert cpu_quota_millis(groups) == 1500


def test_without_a_quota_there_is_none(tmp_path: Path) -> None:
    assert cpu_quota_millis(version_2(tmp_path, "a")) is None
    assert cpu_quota_millis([]) is None


def test_a_quota_of_version_1_is_read(tmp_path: Path) -> None:
    (tmp_path / "cpu.cfs_quota_us").write_text("50000\n")
    (tmp_path / "cpu.cfs_period_us").write_text("100000\n")

    assert cpu_quota_millis([Hierarchy(1, frozenset({"cpu"}), tmp_path, tmp_path)]) == 500


def test_dropped_at_once_is_not_counted_as_used(tmp_path: Path) -> None:
    groups = version_2(tmp_path, "a")
    (tmp_path / "a" / "memory.max").write_text(f"{1 << 30}\n")
    (tmp_path / "a" / "memory.current").write_text(f"{600 << 20}\n")
    (tmp_path / "a" / "memory.stat").write_text(f"anon 5\ninactive_file {100 << 20}\n")

    limit = memory_limit(groups)

    assert limit is not None
    assert limit.limit_bytes == 1 << 30
    assert limit.used_bytes() == 500 << 20


def test_no_limit_of_memory_is_none_in_both_versions(tmp_path: Path) -> None:
    groups = version_2(tmp_path, "a")
    (tmp_path / "a" / "memory.max").write_text("max\n")
    (tmp_path / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    groups.append(Hierarchy(1, frozenset({"memory"}), tmp_path, tmp_path))

    assert memory_limit(groups) is None


def test_the_place_of_a_process_is_found_in_both_versions(tmp_path: Path) -> None:
    (tmp_path / "m2" / "user" / "shell").mkdir(parents=True)
    (tmp_path / "mc").mkdir()
    (tmp_path / "mountinfo").write_text(
        f"30 1 0:26 / {tmp_path}/m2 rw - cgroup2 cgroup2 rw\n"
        f"31 1 0:27 /docker/x {tmp_path}/mc rw - cgroup cgroup rw,cpu,cpuacct\n"
        "32 1 0:28 / /elsewhere rw - ext4 /dev/sda rw\n"
    )
    (tmp_path / "cgroup").write_text("4:cpu,cpuacct:/docker/x\n0::/user/shell\n")

    one, two = read_hierarchies(tmp_path)

    assert (one.version, one.group) == (2, tmp_path / "m2" / "user" / "shell")
    assert two == Hierarchy(1, frozenset({"cpu", "cpuacct"}), tmp_path / "mc", tmp_path / "mc")
    assert list(one.path_to_root())[-1] == tmp_path / "m2"


def test_a_quota_makes_the_capacity_smaller_than_the_cpus(tmp_path: Path) -> None:
    groups = version_2(tmp_path, "a")
    (tmp_path / "a" / "cpu.max").write_text("25000 100000\n")

    sample = NodeSampler(tmp_path, Gpus(None), time.monotonic_ns, groups).sample()

    assert sample.cpu_millis == 250
    assert sample.cpus == len(os.sched_getaffinity(0))


def test_this_machine_can_be_read(tmp_path: Path) -> None:
    sample = NodeSampler(tmp_path, Gpus(None), lambda: 5).sample()

    assert sample.taken_ns == 5
    assert 0 < sample.cpu_millis <= sample.cpus * 1000
    assert 0 < sample.memory_used_bytes < sample.memory_bytes
    assert 0 < sample.disk_free_bytes <= sample.disk_bytes
    assert sample.cpu_busy_ns > 0
    assert sample.gpus == ()


def test_controllers_are_usable_where_the_own_group_is_ours(tmp_path: Path) -> None:
    groups = version_2(tmp_path, "a")
    (tmp_path / "a" / "cgroup.controllers").write_text("cpu io memory\n")
    assert usable_controllers(groups) == frozenset()

    (tmp_path / "a" / "cgroup.procs").write_text("")

    assert usable_controllers(groups) == {"cpu", "memory"}
    assert usable_controllers([]) == frozenset()


def test_controllers_mounted_as_version_1_are_told() -> None:
    old = [Hierarchy(1, frozenset(names), Path("/m"), Path("/m")) for names in (["cpu"], ["io"])]
    new = Hierarchy(2, frozenset(), Path("/u"), Path("/u"))

    assert bound_to_version_1([*old, new]) == {"cpu"}
    assert bound_to_version_1([new]) == frozenset()


def test_what_a_jail_does_not_show_is_unknown_and_the_rest_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(**_: object) -> None:
        raise FileNotFoundError("/proc/diskstats")

    monkeypatch.setattr("psutil.disk_io_counters", missing)
    monkeypatch.setattr("psutil.net_io_counters", missing)

    sample = NodeSampler(tmp_path, Gpus(None), lambda: 5).sample()

    assert (sample.read_bytes, sample.written_bytes, sample.networks) == (None, None, ())
    assert sample.memory_bytes > 0
