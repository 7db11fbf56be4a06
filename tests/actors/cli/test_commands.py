"""What the commands ask of the kernel, and what they print."""

import json
from pathlib import Path

import msgpack
import pytest

from actors.cli.exits import Exit
from tests.actors.cli.fake import Terminal, agent


def test_ps_prints_one_plain_line_an_agent(llmos: Terminal) -> None:
    waiting = agent(15, "x" * 90, state="waiting", waiting_for=["ask 12 hits"], parent=12)
    llmos.client.answers["ps"].append(waiting)

    heading, *lines = llmos("ps").stdout.splitlines()

    assert heading.split()[:3] == ["ID", "NAME", "STATE"]
    assert [line.split()[0] for line in lines] == ["12", "13", "15"]
    assert "x" * 90 in lines[2]
    assert "waiting (ask 12 hits)" in lines[2]
    assert "\x1b" not in heading


def test_ps_with_json_prints_what_the_kernel_told(llmos: Terminal) -> None:
    assert json.loads(llmos("ps", "--json").stdout) == llmos.client.answers["ps"]


def test_tree_puts_children_below_their_parents(llmos: Terminal) -> None:
    llmos.client.answers["ps"] = [
        agent(1, "boss"),
        agent(2, "clerk", parent=1),
        agent(3, "helper", parent=2),
        agent(4, "other", parent=1),
    ]

    lines = [line.split("  idle")[0] for line in llmos("tree").stdout.splitlines()]

    assert lines == ["kernel", "└─ boss", "   ├─ clerk", "   │  └─ helper", "   └─ other"]


def test_ask_sends_typed_values_and_prints_the_answer(llmos: Terminal) -> None:
    llmos.client.handlers["add"] = {"total": 7}

    result = llmos("ask", "12", "add", "5", "note=hello", "--timeout", "3", "--priority", "0")
    (call,) = llmos.client.messages

    assert json.loads(result.stdout) == {"total": 7}
    assert (call.ref.id, call.method, call.verb) == (12, "add", "ask")
    assert (call.args, call.kwargs) == ((5,), {"note": "hello"})
    assert (call.options.deadline, call.options.priority) == (3.0, 0)


def test_a_text_answer_is_printed_bare_and_with_json_as_json(llmos: Terminal) -> None:
    llmos.client.handlers["greet"] = "hello"

    assert llmos("ask", "hits", "greet").stdout == "hello\n"
    assert llmos("ask", "hits", "greet", "--json").stdout == '"hello"\n'


def test_what_json_cannot_hold_is_printed_as_text_within_it(llmos: Terminal) -> None:
    answer = [float("nan"), {(1, 2): b"x", 3: {4}}, 10**5000]
    llmos.client.handlers["all"] = answer

    said = json.loads(llmos("ask", "hits", "all").stdout, parse_constant=pytest.fail)

    assert said == ["nan", {"[1, 2]": {"base64": "eA=="}, "3": [4]}, hex(10**5000)]


def test_no_answer_prints_nothing(llmos: Terminal) -> None:
    assert llmos("ask", "hits", "reset").stdout == ""


def test_a_handler_may_have_the_name_of_a_references_own_attribute(llmos: Terminal) -> None:
    llmos.client.handlers["name"] = "Bob"

    assert llmos("ask", "hits", "name").stdout == "Bob\n"


def test_a_stream_prints_its_items(llmos: Terminal) -> None:
    llmos.client.handlers["count"] = ["one", 2]

    assert llmos("ask", "hits", "count", "--stream").stdout == "one\n2\n"
    assert llmos.client.messages[0].verb == "stream"


def test_tell_carries_its_key(llmos: Terminal) -> None:
    result = llmos("tell", "hits", "add", "5", "--key", "order-1", "--nowait")
    (call,) = llmos.client.messages

    assert (result.exit_code, result.stdout) == (Exit.OK, "")
    assert (call.verb, call.options.key, call.options.nowait) == ("tell", "order-1", True)


@pytest.mark.parametrize("command", ["ask", "tell"])
def test_messages_to_a_pool_say_what_they_belong_with(llmos: Terminal, command: str) -> None:
    result = llmos(command, "hits", "file", "17", "--affinity", "customer-7")
    (call,) = llmos.client.messages

    assert result.exit_code == Exit.OK
    assert call.options.hints == {"affinity": "customer-7"}


def test_kill_names_all_that_went(llmos: Terminal) -> None:
    llmos.client.answers["kill"] = lambda actor, tree: {"terminated": [f"{actor}", "child"]}

    result = llmos("kill", "hits", "13", "--no-tree")

    assert result.stdout == "terminated hits, child, 13, child\n"
    assert llmos.client.calls == [
        ("kill", {"actor": "hits", "tree": False}),
        ("kill", {"actor": 13, "tree": False}),
    ]


def test_restart_names_all_that_came_back(llmos: Terminal) -> None:
    llmos.client.answers["restart"] = {"actor": 12}

    assert llmos("restart", "hits", "13").stdout == "hits, 13 back in new processes\n"


def test_stop_keeps_the_registration(llmos: Terminal) -> None:
    llmos.client.answers["stop"] = {}

    assert llmos("stop", "hits", "13").stdout == "stopped hits, 13\n"
    assert [name for name, _ in llmos.client.calls] == ["stop", "stop"]


def test_inspect_shows_handlers_state_and_open_turns(llmos: Terminal) -> None:
    llmos.client.answers["inspect"] = {
        **agent(12, "hits", pid=99),
        "handlers": {"add": "def add(amount: int) -> int"},
        "state_keys": {"total": 3},
        "open_turns": [{"message": 7, "sender": 3, "attempts": 1, "calls": 0}],
        "queued": [{"message": 8, "sender": 3, "body": msgpack.packb(["add", [1]])[:-1]}],
        "timers": [{"id": 5, "due_wall_ns": 0}],
        "subscriptions": [["news", "on_news", "wait"]],
        "links": [],
        "monitors": [13],
        "handles": [13],
        "dead_letters": 2,
        "log_path": "/logs/hits.log",
        "spec": {},
        "declares": {},
    }

    shown = llmos("inspect", "hits").stdout

    for text in (
        "add(amount: int) -> int",
        "total: 3 B",
        "message 7",
        "8 from 3: add",
        "/logs/hits",
    ):
        assert text in shown


@pytest.mark.parametrize("command", ["status", "statistics"])
def test_what_the_kernel_says_of_itself_is_printed(llmos: Terminal, command: str) -> None:
    llmos.client.answers["statistics"] = {"turns_committed": 5, "crashes": 0}
    llmos.client.answers["status"] = STATUS

    shown = llmos(command).stdout
    document = json.loads(llmos(command, "--json").stdout)

    assert document == llmos.client.answers[command]
    assert ("turns_committed  5" if command == "statistics" else "pending       3 mess") in shown


STATUS = {
    "pid": 7,
    "version": "0.1.0",
    "node": 0,
    "generation": 1,
    "epoch": 2,
    "started_wall_ns": None,
    "durability": "process",
    "actors": 2,
    "running": 1,
    "sessions": 1,
    "pending_messages": 3,
    "pending_bytes": 2048,
    "dead_letters": 0,
    "journal_bytes": 4096,
    "rss_bytes": 50 << 20,
}


def test_top_shows_rates_between_two_looks(llmos: Terminal) -> None:
    counts = iter([0, 500])
    llmos.client.answers["status"] = STATUS
    llmos.client.answers["ps"] = lambda: [agent(12, "hits", handled=next(counts))]

    document = json.loads(llmos("top", "-n", "1", "-i", "0.1", "--json").stdout)

    assert document["agents"][0]["handled_per_s"] > 0
    assert document["kernel"]["pid"] == 7


def test_top_shows_what_all_processes_of_an_agent_use_together(llmos: Terminal) -> None:
    used = {"actor": 12, "cpu_millis": 1875, "rss_bytes": 50 << 20, "processes": 3}
    llmos.client.answers["status"] = STATUS
    llmos.client.answers["resources"] = {"agents": [used]}

    document = json.loads(llmos("top", "-n", "1", "-i", "0.1", "--json").stdout)
    lines = llmos("top", "-n", "1", "-i", "0.1").stdout.splitlines()

    shown = {row["name"]: (row["cpu_percent"], row["rss_bytes"]) for row in document["agents"]}
    assert shown == {"hits": (187.5, 50 << 20), "billing": (None, None)}
    assert next(line for line in lines if "hits" in line).split()[-3:] == ["188", "50.0", "MiB"]
    assert next(line for line in lines if "billing" in line).split()[-2:] == ["-", "-"]


def test_spawn_records_absolute_path_arguments_and_working_directory(
    llmos: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    llmos.client.answers["spawn"] = {"actor": 14, "name": "counter"}

    result = llmos("spawn", "sub/shop.py:Shop", "5", "label=x", "--as", "counter", "--env", "A=1")
    ((_, arguments),) = llmos.client.calls
    spec = arguments["spec"]

    assert result.stdout == "counter is agent 14\n"
    assert (spec["path"], spec["qualname"]) == (str(tmp_path / "sub" / "shop.py"), "Shop")
    assert (spec["cwd"], spec["name"], spec["environment"]) == (
        str(tmp_path),
        "counter",
        {"A": "1"},
    )
    assert spec["sys_path"][:2] == [str(tmp_path / "sub"), str(tmp_path)]
    assert spec["restart"] == "permanent"
    assert msgpack.unpackb(spec["arguments"]) == [[5], {"label": "x"}]
