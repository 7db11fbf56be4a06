"""Help, version and completion."""

import subprocess
import sys

import pytest

from actors.cli import app
from actors.cli.exits import MEANINGS
from tests.actors.cli.fake import Terminal

# These have their examples on their own commands, or hand --help on.
GROUPS = {"dead-letters", "model", "policy", "pool", "record", "bench", "lab"}
LEAVES = [
    *([name] for name in app.COMMANDS if name not in GROUPS),
    *(["dead-letters", verb] for verb in ("list", "show", "retry", "drop")),
    *(["budget", verb] for verb in ("set", "top-up")),
    *(["pool", verb] for verb in ("create", "ls", "show", "resize", "rm")),
    *(["resources", verb] for verb in ("add", "drain", "remove")),
    *(["model", verb] for verb in ("add", "ls", "use", "load", "rm")),
    *(["record", verb] for verb in ("start", "stop", "status")),
    *(["policy", verb] for verb in ("ls", "show", "set", "reset", "grants")),
]


@pytest.mark.parametrize("words", LEAVES, ids=" ".join)
def test_every_command_has_an_example_and_the_shared_options(
    llmos: Terminal, words: list[str]
) -> None:
    result = llmos(*words, "--help")

    assert result.exit_code == 0
    example = " ".join(result.stdout.partition("xample: ")[2].split())
    assert f"llmos {' '.join(words)}" in example
    for option in ("--home", "--name", "--json"):
        assert option in result.stdout


def test_help_lists_every_command_and_every_exit_code(llmos: Terminal) -> None:
    result = llmos("--help")

    for name in app.COMMANDS:
        assert f"  {name} " in result.stdout
    for code, meaning in MEANINGS.items():
        assert f"{int(code):>3}  {meaning}" in result.stdout


def test_a_wrong_option_is_a_usage_error(llmos: Terminal) -> None:
    assert llmos("ps", "--bogus").exit_code == 2
    assert llmos("nonsense").exit_code == 2


def test_only_the_module_of_the_command_is_loaded() -> None:
    assert app.needed(["ps", "--json"]) == ["ps"]
    assert app.needed([]) == app.needed(["--help"]) == list(app.COMMANDS)


def test_completion_needs_all_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_LLMOS_COMPLETE", "complete_bash")

    assert app.needed(["ps"]) == list(app.COMMANDS)


def completions(llmos: Terminal, line: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what Tab offers at the end of the line."""
    monkeypatch.setenv("_LLMOS_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(line.count(" ")))
    return llmos().stdout.split()


def test_tab_completes_names_of_agents(llmos: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    assert completions(llmos, "llmos inspect ", monkeypatch) == ["billing", "hits"]
    assert completions(llmos, "llmos kill hits b", monkeypatch) == ["billing"]


def test_tab_completes_handlers_of_the_agent(
    llmos: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    llmos.client.answers["inspect"] = {"handlers": {"add": "(n)", "get": "()", "also": "()"}}

    assert completions(llmos, "llmos ask hits a", monkeypatch) == ["add", "also"]


def test_tab_completes_policies_of_what_is_scheduled(
    llmos: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    llmos.client.answers["policies"] = [
        {"kind": "turns", "known": {"fcfs": "", "feedback": "", "srpt": ""}},
        {"kind": "placement", "known": {"p2c": ""}},
    ]

    assert completions(llmos, "llmos policy set turns f", monkeypatch) == ["fcfs", "feedback"]
    assert completions(llmos, "llmos policy set placement ", monkeypatch) == ["p2c"]


def test_the_command_line_loads_neither_the_kernel_nor_what_it_does_not_use() -> None:
    code = (
        "import sys, actors.cli.app as m; m.build_app(['ps'], for_people=False);"
        "print(*sorted({'kernel', 'rich', 'numpy', 'zmq', 'pydantic', 'psutil', 'structlog'}"
        " & set(sys.modules)))"
    )

    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert shown.stdout.split() == []
