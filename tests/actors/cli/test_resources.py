"""The commands `resources ...`: what they ask of the kernel, and what they print."""

from __future__ import annotations

import json
from typing import Any

import pytest

from actors.cli.exits import Exit
from actors.cli.resources import bar
from ipc.errors import ReservationError, UnknownResourceError
from tests.actors.cli.fake import Terminal

CPU = {
    "name": "cpu",
    "kind": "cpu",
    "state": "active",
    "capacity": 2000,
    "taken": 1500,
    "holders": {"hits": 1500},
}
REPORT: dict[str, Any] = {
    "age_ns": 1,
    "uses": [
        {"name": "cpu", "kind": "cpu", "used": 1900.0, "capacity": 2000, "share": 0.95},
        {"name": "memory", "kind": "memory", "used": 1 << 29, "capacity": 1 << 30, "share": 0.5},
        {"name": "network.lo", "kind": "network", "used": 8e6, "capacity": None, "share": None},
    ],
    "bottleneck": {"name": "cpu", "share": 0.95, "for_ns": 130_000_000_000},
    "resources": [CPU],
    "agents": [
        {
            "actor": 12,
            "name": "hits",
            "pid": 77,
            "reserved": {"cpu": 1500, "memory": 1 << 20},
            "cpu_share_millis": 750,
            "cpu_millis": 910,
            "cpu_ns": 4_200_000_000,
            "rss_bytes": 60 << 20,
            "pss_bytes": 12 << 20,
            "read_per_s": 0,
            "written_per_s": 2048,
            "threads": 3,
            "processes": 2,
            "gpu_bytes": None,
        }
    ],
    "enforcement": "control groups",
    "look_cost_ns": 2_000_000,
}


@pytest.fixture
def llmos_resources(llmos: Terminal) -> Terminal:
    llmos.client.answers["resources"] = REPORT
    return llmos


def test_the_machine_and_its_agents_are_shown_with_the_bottleneck(
    llmos_resources: Terminal,
) -> None:
    result = llmos_resources("resources")

    assert "bottleneck: cpu, 95% used, near its limit for 2m10s" in result.stdout
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["cpu", "1.9", "2", "95%", f"[{'#' * 19}.]"] in lines
    assert ["network.lo", "8.0", "Mbit/s", "-", "-", "-"] in lines
    assert ["cpu", "cpu", "active", "2", "1.5", "0.5", "hits", "1.5"] in lines
    (hits,) = [line for line in result.stdout.splitlines() if line.startswith("hits")]
    assert hits.split()[:7] == ["hits", "77", "91", "75", "4.2", "s", "60.0"]
    assert hits.endswith("cpu=1.5, memory=1.0 MiB")


def test_json_is_what_the_kernel_told(llmos_resources: Terminal) -> None:
    assert json.loads(llmos_resources("resources", "--json").stdout) == REPORT


def test_watch_looks_again(llmos_resources: Terminal) -> None:
    result = llmos_resources("resources", "--watch", "-n", "2", "-i", "0.1")

    assert result.stdout.count("bottleneck") == 2


@pytest.mark.parametrize(
    ("words", "call"),
    [
        (["add", "licence", "3"], ("resource_add", {"name": "licence", "amount": 3})),
        (["add", "cpu", "0.5"], ("resource_add", {"name": "cpu", "amount": 500})),
        (["add", "engine.small"], ("resource_add", {"name": "engine.small"})),
        (["drain", "gpu.0"], ("resource_drain", {"name": "gpu.0"})),
        (["remove", "memory", "1GiB"], ("resource_remove", {"name": "memory", "amount": 1 << 30})),
    ],
)
def test_changes_are_asked_for_in_the_resources_units(
    llmos: Terminal, words: list[str], call: Any
) -> None:
    llmos.client.answers[call[0]] = CPU

    result = llmos("resources", *words)

    assert llmos.client.calls == [call]
    assert result.stdout == "cpu is active; 1.5 of 2 taken\n"


def test_an_amount_that_is_none_is_refused_before_anything_is_asked(llmos: Terminal) -> None:
    result = llmos("resources", "add", "cpu", "many")

    assert result.exit_code == Exit.USAGE
    assert llmos.client.calls == []


def test_an_unknown_resource_is_told_with_those_there_are(llmos: Terminal) -> None:
    llmos.client.answers["resource_drain"] = UnknownResourceError(name="tape", known="cpu, memory")

    result = llmos("resources", "drain", "tape")

    assert result.exit_code == Exit.NOT_FOUND
    assert "there are: cpu, memory" in result.stderr


def test_spawn_reserves_what_it_is_told(llmos: Terminal) -> None:
    llmos.client.answers["spawn"] = {"actor": 14, "name": "c"}
    llmos("spawn", "m:C", "--reserve", "cpu=1,memory=512MiB", "--cpu-limit", "1.5")

    (_, arguments) = llmos.client.calls[-1]
    assert arguments["spec"]["reserve"] == {"cpu": 1000, "memory": 512 << 20}
    assert arguments["spec"]["cpu_limit"] == 1500


@pytest.mark.parametrize("words", ["cpu", "cpu=1,cpu=2", "=1", "cpu=1,"])
def test_a_reservation_that_cannot_be_read_is_refused(llmos: Terminal, words: str) -> None:
    result = llmos("spawn", "m:C", "--reserve", words)

    assert result.exit_code == Exit.USAGE
    assert llmos.client.calls == []


def test_a_reservation_that_does_not_fit_tells_by_how_much(llmos: Terminal) -> None:
    llmos.client.answers["spawn"] = ReservationError(
        resource="cpu",
        unit="thousandths of a CPU",
        wanted=3000,
        free=500,
        capacity=2000,
        short=2500,
    )

    result = llmos("spawn", "m:C", "--reserve", "cpu=3")

    assert result.exit_code == Exit.OVERLOADED
    assert "cannot reserve 3 CPUs of cpu: 0.5 of 2 are free, 2.5 too few" in result.stderr


def test_a_bar_is_as_long_as_the_share() -> None:
    assert bar(0.5) == f"[{'#' * 10}{'.' * 10}]"
    assert bar(1.7) == f"[{'#' * 20}]"
    assert bar(None) == ""
