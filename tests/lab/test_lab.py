"""The lab's commands, its figures and its advice."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import fmean

import pytest

from bench.lab.__main__ import main
from bench.lab.advice import advise
from bench.lab.call import Call
from bench.lab.engine_model import PRESETS, engine_model
from bench.lab.figures import Figure, figures_of, jain
from bench.lab.ideal import ORDERS, Servers
from bench.lab.programs import MIXES, Lengths, Programs, at_load, end_to_end_s, make_programs
from bench.lab.replay import Recorded, Replay
from ipc.errors import BadConfigError
from kernel.llm.named_policies import NAMES

MODEL = PRESETS["cpu-1b"]


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "trace.jsonl"
    rows = [
        {"timestamp": 100 * n, "input_length": 300 + n, "output_length": 9, "hash_ids": [n]}
        for n in range(12)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_run_prints_the_document_of_the_bench(
    trace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(trace), "--policy", "fcfs,srpt", "--load", "0.9", "--json"]) == 0

    found = {each["name"]: each for each in json.loads(capsys.readouterr().out)}
    ours = found["srpt_completion_mean"]
    assert set(ours) == {"name", "value", "unit", "floor", "ratio"}
    assert ours["floor"] == found["fcfs_completion_mean"]["value"]
    assert found["fcfs_refused"]["value"] == 0


def test_run_draws_the_comparison(trace: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")

    assert main(["run", str(trace), "--plot", str(tmp_path / "plot.png")]) == 0

    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "options",
    [
        ["--policy", "fastest"],
        ["--engine-model", "nothing-like-it"],
        ["--load", "0"],
        ["--load", "nan"],
        ["--load", "much"],
        ["--limit", "-5"],
        ["--limit", "0"],
        ["--max-tokens", "0"],
        ["--plot", "/no/such/folder/plot.png"],
        ["--plot", "plot.txt"],
    ],
)
def test_bad_input_is_refused_in_one_line(
    trace: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    assert main(["run", str(trace), *options]) == 2

    said = capsys.readouterr()
    assert (said.err.startswith("error: "), said.err.count("\n"), said.out) == (True, 1, "")


@pytest.mark.parametrize(
    "words",
    [
        ["programs", "--seeds", "0"],
        ["programs", "--calls", "-10"],
        ["programs", "--mix", "pareto,nope"],
        ["programs", "--policy", "nope"],
        ["programs", "--load", "-3"],
        ["programs", "--lengths", "/no/such/trace"],
        ["ideal", "--servers", "0"],
        ["ideal", "--servers", "1,x"],
        ["ideal", "--mix", "branching"],
        ["run", "/no/such/trace"],
    ],
)
def test_bad_input_of_every_command_is_refused_before_anything_runs(
    capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert main(words) == 2

    said = capsys.readouterr()
    assert (said.err.startswith("error: "), said.err.count("\n"), said.out) == (True, 1, "")


def test_with_json_an_error_is_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["programs", "--mix", "nope", "--json"]) == 2

    assert "no 'nope'; there are: uniform" in json.loads(capsys.readouterr().err)["text"]


@pytest.mark.parametrize("command", ["run", "advise", "programs", "ideal"])
def test_the_help_of_every_command_has_an_example(
    capsys: pytest.CaptureFixture[str], command: str
) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])

    assert f"Example: llmos lab {command}" in " ".join(capsys.readouterr().out.split())


def test_policies_that_do_not_fit_beside_each_other_get_tables_of_their_own(
    trace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")

    assert main(["run", str(trace), "--policy", "all"]) == 0

    shown = capsys.readouterr().out
    assert "…" not in shown
    assert all(name in shown for name in NAMES)
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize(
    "fields",
    [
        {"step_us": -1},
        {"speed": 3},
        {"preset": "none"},
        {"preset": ["gpu-8b"]},
        {"block_size": 0.5},
        {"step_us": 1},
        {},
        [],
        {"preset": "gpu-8b", "step_us": 0},
        {"preset": "gpu-8b", "block_size": 65_537},
        {"preset": "gpu-8b", "num_blocks": 1 << 29},
        {"preset": "gpu-8b", "max_running": 1 << 29},
    ],
)
def test_an_engine_model_that_cannot_be_is_refused(tmp_path: Path, fields: object) -> None:
    path = tmp_path / "engine.json"
    path.write_text(json.dumps(fields))

    with pytest.raises(BadConfigError):
        engine_model(str(path))


def test_an_engine_model_may_amend_a_preset(tmp_path: Path) -> None:
    path = tmp_path / "engine.json"
    path.write_text('{"preset": "gpu-8b", "max_running": 7, "num_host_blocks": 0}')

    found = engine_model(str(path))

    assert (found.max_running, found.step_us) == (7, PRESETS["gpu-8b"].step_us)
    assert found.num_host_blocks == 0


def test_a_block_copied_to_the_host_or_back_takes_its_time() -> None:
    """The engine holds not quite two: the younger goes to the host with about 31 blocks."""
    model = replace(
        PRESETS["gpu-8b"], num_blocks=150, num_host_blocks=150, max_step_tokens=4_096, swap_us=50
    )
    calls = [Call(0, 0, 1_400, 700, 1, 1), Call(1, 10**8, 10, 900, 2, 2)]

    fast = Replay(Recorded(calls), replace(model, swap_us=1e-9), "fcfs").run()
    slow = Replay(Recorded(calls), model, "fcfs").run()

    assert fast.preemptions == slow.preemptions == 1
    copied = round((slow.busy_ns - fast.busy_ns) / 50_000)
    assert 30 < copied < 80


def test_figures_of_one_call_are_its_own() -> None:
    history = Replay(Recorded([Call(0, 0, 100, 10, 1, 1)]), MODEL, "fcfs").run()

    found = figures_of(history)

    assert found["completion_mean"].value == pytest.approx(history.outcomes[0].alone_ns / 1e9)
    assert found["slowdown_mean"].value == pytest.approx(1, rel=1e-3)
    assert found["wait_mean"].value == 0
    assert found["utilisation"].value == 1
    assert found["jain"].value == 1


def test_jain_of_one_who_has_everything_is_one_in_n() -> None:
    assert jain([1, 0, 0, 0]) == 0.25
    assert jain([3, 3, 3]) == pytest.approx(1)


def test_advice_names_the_best_and_its_price() -> None:
    names = ("completion_mean", "completion_p99", "ttft_p99", "program_mean")
    base = {name: Figure(10.0, "s") for name in names} | {"jain": Figure(1.0, "", True)}
    fast = base | {"completion_mean": Figure(5.0, "s"), "jain": Figure(0.5, "", True)}
    same = base | {"completion_mean": Figure(9.95, "s")}

    found = advise({"fcfs": base, "srpt": fast, "sjf": same}, "mean-completion")
    fair = advise({"fcfs": base, "srpt": fast}, "fairness")
    none = advise({"fcfs": base, "sjf": same}, "mean-completion")

    assert (found.best, fair.best, none.best) == ("srpt", "fcfs", "fcfs")
    assert "50% better" in found.reasons[0]
    assert any("jain is 0.5" in reason for reason in found.reasons)


@pytest.mark.parametrize(("mix", "mean"), [("uniform", 10.5), ("geometric", 4), ("pareto", 2.2)])
def test_a_mix_has_its_mean_and_its_seed_gives_it_again(mix: str, mean: float) -> None:
    lengths = Lengths.typical()
    first, again, other = (
        make_programs(mix, lengths, num_calls=8_000, seed=seed) for seed in (1, 1, 2)
    )

    assert first.num_calls / len(first.calls) == pytest.approx(mean, rel=0.1)
    assert max(map(len, first.calls)) > 15
    assert first.calls == again.calls
    assert first.calls != other.calls
    assert mix in MIXES


def test_a_programs_next_call_comes_a_gap_after_the_last_has_ended() -> None:
    parents = [(), (0,), (1,)]
    calls = [Call(number, 0, 50, 5, 1, 1, parents=parents[number]) for number in range(3)]
    programs = Programs([calls], {0: 0, 1: 2 * 10**9, 2: 3 * 10**9})

    outcomes = Replay(programs, MODEL, "least_attained").run().outcomes

    gaps = [later.call.arrival_ns - earlier.ended_ns for earlier, later in pairwise(outcomes)]
    assert gaps == [2 * 10**9, 3 * 10**9]
    alone_s = sum(each.alone_ns for each in outcomes) / 1e9
    assert end_to_end_s(outcomes) == [pytest.approx(5 + alone_s, rel=1e-3)]


def test_a_call_comes_when_all_that_it_needs_have_ended_in_every_replay() -> None:
    lengths = Lengths([(40, 3), (200, 30), (90, 11)])
    programs = make_programs("branching", lengths, num_calls=120, seed=4)
    assert any(len(call.parents) > 1 for program in programs.calls for call in program)

    for _ in range(2):
        outcomes = Replay(programs, MODEL, "critical_path").run().outcomes

        ended = {each.call.number: each.ended_ns for each in outcomes}
        assert len(ended) == programs.num_calls
        for call in (each.call for each in outcomes if each.call.parents):
            last = max(ended[parent] for parent in call.parents)
            assert call.arrival_ns == last + programs.gaps_ns[call.number]


def test_only_the_path_counts_for_a_program_that_fans_out() -> None:
    """What joins it has 200 tokens before it along the path, 900 of all calls; others 400 alone."""
    wide = [Call(0, 0, 50, 50, 1, 1)]
    wide += [Call(number, 0, 50, 50, 1, 1, parents=(0,)) for number in range(1, 9)]
    wide.append(Call(9, 0, 50, 50, 1, 1, parents=tuple(range(1, 9))))
    others = [[Call(10 + number, 0, 400, 60, 2 + number, 2)] for number in range(40)]
    programs = Programs([wide, *others], dict.fromkeys(range(1, 10), 0))

    took = {}
    for policy in ("least_attained", "critical_path"):
        outcomes = Replay(programs, MODEL, policy).run().outcomes
        took[policy] = end_to_end_s([each for each in outcomes if each.call.program == 1])[0]

    assert took["critical_path"] < took["least_attained"]


def test_the_table_of_programs_has_every_policy_that_was_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["--mix", "pareto", "--policy", "least_attained", "--seeds", "2", "--calls", "12"]

    assert main(["programs", *words, "--json"]) == 0

    found = {each["name"]: each for each in json.loads(capsys.readouterr().out)}
    ours = found["pareto_least_attained_program_mean"]
    assert ours["floor"] == found["pareto_fcfs_program_mean"]["value"]
    low, high = (found[f"pareto_fcfs_program_mean_{end}"]["value"] for end in ("low", "high"))
    assert low <= ours["floor"] <= high
    share = {
        end: found[f"pareto_least_attained_of_fcfs{end}"]["value"] for end in ("", "_low", "_high")
    }
    assert share["_low"] <= share[""] <= share["_high"]


def test_on_servers_without_costs_no_order_beats_the_one_that_knows_all(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["--mix", "pareto", "--servers", "1", "--seeds", "2", "--calls", "400"]

    assert main(["ideal", *words, "--json"]) == 0

    found = {each["name"]: each["ratio"] for each in json.loads(capsys.readouterr().out)}
    known = found.pop("ideal_pareto_1_known")
    assert known < min(found.values())
    assert found["ideal_pareto_1_least_attained"] < 1


def test_a_server_without_costs_keeps_the_mean_of_the_textbook() -> None:
    """Calls of one fixed length, one each, first come first served: M/D/1 at half load."""
    programs = make_programs("pareto", Lengths([(100, 10)]), num_calls=6_000, seed=3)
    single = Programs([program[:1] for program in programs.calls], {})
    service_s = MODEL.alone_ns(100, 10) / 1e9
    rate = len(single.calls) / (single.calls[-1][0].arrival_ns / 1e9)

    times = Servers(at_load(single, 0.5, 1 / service_s), MODEL, 1, ORDERS["fcfs"]).run()

    load = 0.5 * rate  # they come one a second only about
    expected = service_s * (1 + load / (2 * (1 - load)))
    assert fmean(times) == pytest.approx(expected, rel=0.05)
