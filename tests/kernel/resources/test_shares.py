"""kernel/resources/shares.py and enforcement.py: from specs to weights, limits and niceness."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from ipc.protocol import SpawnSpec
from kernel.policy.max_min import Claim
from kernel.resources.agent_groups import AgentGroups, GroupLimits
from kernel.resources.enforcement import Enforcement, limits_of, set_nice
from kernel.resources.shares import (
    claim_of,
    cpu_shares,
    is_weighted,
    to_nice,
    to_weights,
)

WEIGHTS = st.dictionaries(st.integers(1, 50), st.integers(1, 4000), min_size=1, max_size=8)


def test_a_spec_asks_for_weight_floor_and_cap() -> None:
    spec = SpawnSpec(weight=2.5, reserve={"cpu": 500, "memory": 7}, cpu_limit=800)

    assert claim_of(spec) == Claim(2500, 500, 800)
    assert is_weighted(spec)
    assert not is_weighted(SpawnSpec(reserve={"memory": 7}))


def test_reservations_are_floors_and_weights_divide_the_rest() -> None:
    claims = {1: Claim(1000, floor=1200), 2: Claim(1000), 3: Claim(3000)}

    assert cpu_shares(2000, claims) == {1: 1200, 2: 200, 3: 600}


def test_floors_that_fit_no_more_give_way_in_proportion() -> None:
    assert cpu_shares(1000, {1: Claim(1, floor=1500), 2: Claim(1, floor=500)}) == {1: 750, 2: 250}


@given(WEIGHTS)
def test_weights_are_in_the_proportions_of_shares(shares: dict[int, int]) -> None:
    weights = to_weights(shares)

    assert all(1 <= weight <= 10_000 for weight in weights.values())
    for one in shares:
        for other in shares:
            expected = shares[one] / shares[other]
            low = (weights[one] - 0.5) / (weights[other] + 0.5)
            high = (weights[one] + 0.5) / max(weights[other] - 0.5, 0.5)
            assert low <= expected * 1.001 or weights[one] == 1
            assert expected <= high * 1.001 or weights[other] == 1


def test_equal_shares_are_the_usual_weight_and_niceness() -> None:
    assert to_weights({1: 500, 2: 500}) == {1: 100, 2: 100}
    assert to_nice(100) == 0


def test_niceness_is_the_nearest_to_a_weight() -> None:
    weights = (1, 50, 125, 150, 300, 10_000)

    assert [to_nice(weight) for weight in weights] == [19, 3, -1, -2, -5, -20]


def test_limits_of_a_process_bind_the_whole_group() -> None:
    spec = SpawnSpec(
        weight=3.0,
        reserve={"memory": 5},
        cpu_limit=500,
        rlimits={"memory_bytes": 9, "processes": 4, "cpu_s": 1},
    )

    assert limits_of(spec) == GroupLimits(300, 500, 9, 5, 4)
    assert limits_of(SpawnSpec()) == GroupLimits()


def test_a_limit_that_cannot_be_kept_is_said_once_and_starts_the_agent() -> None:
    enforcement = Enforcement(None, "a test")
    with structlog.testing.capture_logs() as lines:
        entries = [enforcement.recipe(5, number, SpawnSpec(cpu_limit=5)) for number in (1, 2)]

    assert entries == [None, None]
    assert [line["event"] for line in lines] == ["limit_not_kept"]
    assert enforcement.describe() == "rlimits and niceness (a test)"


def test_as_root_a_limit_of_processes_needs_a_control_group_and_that_is_said(
    tmp_path: Path,
) -> None:
    limited = SpawnSpec(rlimits={"processes": 9})
    groups = AgentGroups(tmp_path, frozenset({"pids"}), tmp_path)
    with structlog.testing.capture_logs() as lines:
        Enforcement(None, "a test").recipe(5, 1, limited)
        Enforcement(groups, is_root=True).recipe(5, 1, limited)
    assert lines == []

    bare = Enforcement(None, "a test", is_root=True)
    with structlog.testing.capture_logs() as lines:
        bare.recipe(5, 1, SpawnSpec())
        bare.recipe(5, 1, limited)

    assert [line["problem"] for line in lines] == [
        "as root, limits of processes need the pids controller"
    ]
    assert bare.describe() == "rlimits and niceness (a test); no limit of processes: this is root"
    assert "root" not in Enforcement(groups, is_root=True).describe()


def test_only_agents_that_ask_for_something_get_a_group_unless_all_shall(tmp_path: Path) -> None:
    groups = AgentGroups(tmp_path, frozenset({"pids"}), tmp_path)
    plain, limited = SpawnSpec(), SpawnSpec(rlimits={"processes": 9})

    assert Enforcement(groups).recipe(5, 1, plain) is None
    assert Enforcement(groups, is_for_all=True).recipe(5, 1, plain) is not None
    recipe = Enforcement(groups).recipe(5, 1, limited)
    assert recipe is not None
    assert recipe["files"] == {"pids.max": "9"}
    assert "control groups (pids), rlimits for the rest" in Enforcement(groups).describe()


def test_where_groups_keep_cpu_weights_all_agents_have_one(tmp_path: Path) -> None:
    groups = AgentGroups(tmp_path, frozenset({"cpu"}), tmp_path)

    recipe = Enforcement(groups).recipe(5, 1, SpawnSpec())

    assert recipe is not None
    assert recipe["files"] == {"cpu.weight": "100"}


BURN = "import os; os.setsid(); print(1, flush=True)\nwhile True: pass"


def burner(cpu: int) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen([sys.executable, "-c", BURN], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    os.sched_setaffinity(process.pid, {cpu})
    return process


def cpu_ns(process: "subprocess.Popen[bytes]") -> int:
    return time.clock_gettime_ns(~process.pid << 3 | 2)


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="a higher weight than usual needs privileges")
def test_niceness_divides_a_cpu_by_weight() -> None:
    cpu = min(os.sched_getaffinity(0))
    light, heavy = burner(cpu), burner(cpu)
    try:
        weights = to_weights({light.pid: 500, heavy.pid: 1500})
        for process in (light, heavy):
            set_nice(process.pid, to_nice(weights[process.pid]))
        before = [cpu_ns(process) for process in (light, heavy)]
        while sum(cpu_ns(p) for p in (light, heavy)) - sum(before) < 1_000_000_000:
            time.sleep(0.05)
        used = [cpu_ns(p) - was for p, was in zip((light, heavy), before, strict=True)]
    finally:
        for process in (light, heavy):
            process.send_signal(signal.SIGKILL)
            process.wait()
            assert process.stdout is not None
            process.stdout.close()

    assert 2 < used[1] / used[0] < 4.5


def test_a_group_of_sessions_is_weighed_where_there_is_one(tmp_path: Path) -> None:
    sleeper = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    try:
        set_nice(sleeper.pid, 7)
        autogroup = Path(f"/proc/{sleeper.pid}/autogroup")

        assert os.getpriority(os.PRIO_PROCESS, sleeper.pid) == 7
        assert not autogroup.exists() or "nice 7" in autogroup.read_text()
    finally:
        sleeper.kill()
        sleeper.wait()
