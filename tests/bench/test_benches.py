"""Every bench runs, in two seconds or so each, so that none rots. What it measures is not looked
at: a time on a busy machine proves nothing."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import floor_broker
from bench.__main__ import main
from bench.effort import SMOKE
from bench.goals import GOALS, Goal, verdict
from bench.llm import NAMES as LLM_NAMES
from bench.llm_kernel import llm_world
from bench.plot import draw
from bench.report import Measurement, print_table
from bench.suite import ALL_NAMES, BENCHES, QUICK_NAMES, Bench
from bench.world import Stage

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = [  # benches of one mechanism, run by themselves
    path.stem
    for path in sorted((ROOT / "bench").glob("*.py"))
    if "--quick" in path.read_text() and path.stem not in {"__main__", "effort", "suite", "llm"}
]


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Stage() as stage:
        yield stage


@pytest.mark.slow
@pytest.mark.parametrize("bench", BENCHES, ids=lambda bench: bench.title)
def test_a_bench_measures_what_it_names(stage: Stage, bench: Bench) -> None:
    found = bench.measure(stage, SMOKE)

    assert tuple(each.name for each in found) == bench.names
    assert [each for each in found if each.value < 0 or each.floor == 0] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_bench_of_one_mechanism_runs(name: str) -> None:
    command = [sys.executable, "-m", f"bench.{name}", "--quick", "--json"]

    document = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)

    assert document
    assert all(set(each) == {"name", "value", "unit", "floor", "ratio"} for each in document)


@pytest.mark.slow
def test_completions_through_a_kernel_are_measured() -> None:
    pytest.importorskip("torch")

    with llm_world("small") as world:
        cached, uncached = world.first_token()

    assert min(cached, uncached) > 0


@pytest.mark.slow
def test_the_document_lists_name_value_unit_floor_and_ratio(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    picture = tmp_path / "bench.png"
    words = [
        "bench",
        "--quick",
        "--only",
        "journal_commits_per_s",
        "--json",
        "--plot",
        str(picture),
    ]
    monkeypatch.setattr(sys, "argv", words)

    assert main() == 0

    (entry,) = json.loads(capsys.readouterr().out)
    assert set(entry) == {"name", "value", "unit", "floor", "ratio"}
    assert entry["name"] == "journal_commits_per_s"
    assert entry["ratio"] == entry["value"] / entry["floor"]
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_an_unknown_figure_is_refused_and_the_known_ones_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", "--only", "warp_speed"])

    with pytest.raises(SystemExit) as ended:
        main()

    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert "warp_speed" in told
    assert "ask_rtt_64B" in told


def test_names_are_unique_and_every_goal_is_of_a_figure() -> None:
    assert len(set(ALL_NAMES)) == len(ALL_NAMES)
    assert set(QUICK_NAMES) < set(ALL_NAMES)
    assert GOALS.keys() <= {*ALL_NAMES, *LLM_NAMES}


def test_a_goal_says_whether_it_is_met(capsys: pytest.CaptureFixture[str]) -> None:
    slow = Measurement("ask_rtt_64B", 400.0, "us", 100.0)
    quick = Measurement("ask_rtt_64B", 290.0, "us", 100.0)
    alone = Measurement("ask_rtt_64B", 290.0, "us")

    assert verdict(slow) == "<= 3x missed"
    assert verdict(quick) == "<= 3x met"
    assert not Goal("ratio", "at least", 0.5).is_met(alone)
    assert verdict(Measurement("no_such_goal", 1.0, "s")) == ""
    print_table("figures", [slow, quick], verdict=verdict)
    assert "missed" in capsys.readouterr().out


def test_a_picture_shows_what_has_a_floor(tmp_path: Path) -> None:
    path = tmp_path / "ratios.png"

    draw([Measurement("ask_rtt_64B", 300.0, "us", 100.0), Measurement("spawn_ms", 9.0, "ms")], path)

    assert path.read_bytes().startswith(b"\x89PNG")


def test_the_floor_counts_every_message(tmp_path: Path) -> None:
    with floor_broker.Floor(tmp_path) as floor:
        assert len(floor.round_trips_ns(64, 3)) == 3
        assert floor.one_way_per_s(64, 100) > 0
        assert floor.asks_per_s(64, 64, 32) > 0
