"""What `llmos plan` prints, and what it refuses."""

import json

import pytest

from actors.cli.exits import Exit
from actors.cli.live_load import Look, load_between
from ipc.errors import BadLoadError
from tests.actors.cli.fake import Terminal

ISSUE = ("plan", "--arrival", "1000/s", "--service", "500/s")


def test_the_answer_stands_first_and_fewer_servers_beside_it(llmos: Terminal) -> None:
    result = llmos(*ISSUE, "--p99", "20ms")
    lines = result.stdout.splitlines()

    assert lines[0].split() == ["needed", "3", "servers"]
    assert "2.889 ms" in lines[2]
    assert [line.split()[0] for line in lines if line.strip()[:1].isdigit()] == list("2345")
    assert "not stable" in result.stdout


def test_as_json_every_number_is_there(llmos: Terminal) -> None:
    document = json.loads(llmos(*ISSUE, "--p99", "20ms", "--json").stdout)
    unstable, answer, *_ = document["servers"]

    assert document["needed"] == 3
    assert (unstable["is_stable"], unstable["growth_per_s"]) == (False, 0)
    assert answer["time_in_system_s"] == pytest.approx(2.889e-3, abs=5e-7)
    assert answer["percentiles_s"]["p99"] == pytest.approx(11.78e-3, abs=5e-6)
    assert answer["meets_goals"]


def test_servers_that_cannot_keep_up_are_an_error(llmos: Terminal) -> None:
    result = llmos(*ISSUE, "--servers", "1", "--json")
    error = json.loads(result.stderr)

    assert result.exit_code == Exit.USAGE
    assert (error["error"], error["fields"]["growth_per_s"]) == ("UnstableQueueError", 500)


def test_other_queues_have_options(llmos: Terminal) -> None:
    bounded = json.loads(llmos(*ISSUE, "--servers", "2", "--room", "9", "--json").stdout)
    constant = json.loads(
        llmos("plan", "--arrival", "1/s", "--service", "0.5s", "--variation", "0", "--json").stdout
    )

    assert (bounded["model"], bounded["refusal_probability"] > 0) == ("M/M/c/K", True)
    assert (constant["model"], constant["waiting_time_s"]) == ("M/G/1", 0.25)
    assert "p50" not in llmos(*ISSUE, "--servers", "2", "--room", "9").stdout


@pytest.mark.parametrize(
    "words",
    [
        ("plan", "--arrival", "many", "--service", "500/s"),
        (*ISSUE, "--p99", "1ms"),
        (*ISSUE, "--room", "9"),
        (*ISSUE, "--variation", "0", "--servers", "2"),
        (*ISSUE, "--servers", "0"),
        (*ISSUE, "--servers", "3", "--room", "9", "--p99", "1ms"),
        ("plan", "--arrival", "1/s"),
        ("plan", "--live", "--arrival", "1/s"),
        ("plan", "--live", "--window", "1e99"),
        (*ISSUE, "--servers", "99999999999999"),
        (*ISSUE, "--servers", "3", "--room", "99999999999999"),
        ("plan", "--arrival", "1e308/s", "--service", "1e-308/s"),
        ("plan", "--arrival", "1/s", "--service", "2/s", "--variation", "1e200"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(llmos: Terminal, words: tuple[str, ...]) -> None:
    assert llmos(*words).exit_code == Exit.USAGE


def test_a_live_load_is_what_came_and_how_long_slots_were_held() -> None:
    """100 turns ended in 2 s, 20 more came than ended, and slots were held for 0.5 s."""
    first = Look(at_s=10.0, ended=1000, busy_us=7_000_000, waiting=5)

    load = load_between(first, Look(at_s=12.0, ended=1100, busy_us=7_500_000, waiting=25))

    assert (load.arrival, load.service) == (60, 200)


def test_live_asks_the_kernel_twice(llmos: Terminal) -> None:
    counts = iter([0, 500])
    llmos.client.answers["statistics"] = lambda: {
        "turns_committed": (ended := next(counts)),
        "turn_slot_us": 2000 * ended,
    }
    llmos.client.answers["status"] = {"pending_messages": 0}

    result = llmos("plan", "--live", "--window", "0.1", "--json")

    assert json.loads(result.stdout)["service_per_s"] == pytest.approx(500)
    assert [name for name, _ in llmos.client.calls] == ["statistics", "status"] * 2


def test_what_waits_already_is_told_beside_a_live_load(llmos: Terminal) -> None:
    counts, waiting = iter([0, 500]), iter([300, 280])
    llmos.client.answers["statistics"] = lambda: {
        "turns_committed": (ended := next(counts)),
        "turn_slot_us": 2000 * ended,
    }
    llmos.client.answers["status"] = lambda: {"pending_messages": next(waiting)}

    result = llmos("plan", "--live", "--window", "0.1")

    assert "280 messages are unfinished now" in result.stdout


def test_a_backlog_that_only_drains_is_no_load_to_plan_for() -> None:
    first = Look(at_s=10.0, ended=1000, busy_us=7_000_000, waiting=400)

    said = r"no new message in 2\.0 s \(100 turns done, 300 wait\)"
    with pytest.raises(BadLoadError, match=said):
        load_between(first, Look(at_s=12.0, ended=1100, busy_us=7_500_000, waiting=300))


def test_an_idle_kernel_has_no_load_to_plan_for(llmos: Terminal) -> None:
    llmos.client.answers["statistics"] = {"turn_slot_us": 0}
    llmos.client.answers["status"] = {"pending_messages": 0}

    result = llmos("plan", "--live", "--window", "0.1")

    assert result.exit_code == Exit.USAGE
    assert "some work" in result.stderr
