"""What the texts say exists: files, commands, options, make targets, and the tests of promises.

Texts are the Markdown files at the root and in docs/. A file is named in backticks or as the
target of a link; a command stands in backticks or in a code block.
"""

import ast
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main

from actors.cli.app import COMMANDS, build_app

ROOT = Path(__file__).resolve().parent.parent
NEEDED = ("README", "ARCHITECTURE", "SEMANTICS", "CONTRIBUTING", "CHANGELOG")
TEXTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("bench/*.md")])
TOP = {
    "kernel",
    "ipc",
    "actors",
    "ext",
    "tests",
    "bench",
    "examples",
    "tools",
    "docs",
    ".ci",
    ".github",
}

CODE = re.compile(r"`([^`\n]+)`")
FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")
MAKE = re.compile(r"(?:^\s*|`|\$ )make ((?:[a-z-]+ ?)+)", re.MULTILINE)
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
PROMISE = re.compile(
    r"^(?:[-*]|\d+\.) .*?(?=^(?:[-*]|\d+\.) |^\s*$|^#|\Z)", re.DOTALL | re.MULTILINE
)


def texts() -> Any:
    return pytest.mark.parametrize("text", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))


def outside_fences(text: Path) -> str:
    """Return the prose; code blocks are programs and sessions of a reader's own."""
    return FENCE.sub("", text.read_text())


def named_files(text: Path) -> set[str]:
    """Return what reads like a file of this repository."""
    prose = outside_fences(text)
    words = {word.split("::")[0] for word in CODE.findall(prose)}
    inside = {word for word in words if re.fullmatch(r"[\w.-]+(/[\w.-]*)+", word)}
    roots = {word for word in words if re.fullmatch(r"[A-Z]+(\.md)?|Makefile|\w+\.md", word)}
    links = {word for word in LINK.findall(prose) if "://" not in word}
    capitals = {word for word in roots if word.endswith((".md", "file")) or word == "LICENSE"}
    return {word for word in inside if word.split("/")[0] in TOP} | capitals | links


@pytest.mark.parametrize("name", NEEDED)
def test_every_root_text_is_there(name: str) -> None:
    assert (ROOT / f"{name}.md").is_file()


@texts()
def test_every_file_a_text_names_exists(text: Path) -> None:
    places = (ROOT, text.parent)
    missing = [
        name for name in named_files(text) if not any((place / name).exists() for place in places)
    ]

    assert missing == []


@cache
def command_tree() -> Any:
    return typer.main.get_command(build_app(list(COMMANDS), for_people=False))


def problem_with(words: list[str]) -> str | None:
    """Say what is wrong with a command line that begins after ``llmos``."""
    command = command_tree()
    words = [word.strip("`'\",.:") for word in words]
    while words and hasattr(command, "commands"):
        if words[0].startswith("-") or not re.fullmatch(r"[a-z-]+", words[0]):
            return None
        if words[0] not in command.commands:
            return f"no command {words[0]}"
        command = command.commands[words.pop(0)]
    if command.name in {"bench", "lab"}:
        return None  # their options are those of `python -m bench` and `python -m bench.lab`
    known = {name for option in command.params for name in option.opts + option.secondary_opts}
    known |= {"-h", "--help"}
    wrong = [
        word for word in words if re.match(r"--?[a-z]", word) and word.split("=")[0] not in known
    ]
    return f"no option {wrong} of {command.name}" if wrong else None


def commands_in(source: str) -> list[list[str]]:
    """Return the words after ``llmos`` of each command line in a text."""
    found = []
    for piece in [
        *CODE.findall(FENCE.sub("", source)),
        *"".join(FENCE.findall(source)).split("\n"),
    ]:
        match = re.match(r"(?:\$ |\S*/bin/)?llmos(?: +(.*))?$", piece.strip())
        if match and match.group(1):
            found.append(re.split(r" #|[|;&]", match.group(1))[0].split())
    return found


@texts()
def test_every_command_a_text_shows_exists(text: Path) -> None:
    problems = [problem_with(words) for words in commands_in(text.read_text())]

    assert [problem for problem in problems if problem] == []


@texts()
def test_every_make_target_a_text_names_exists(text: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {words.split()[0] for words in MAKE.findall(text.read_text())}

    assert named - targets == set()


@cache
def functions_in(path: Path) -> frozenset[str]:
    """Return the names of the tests a file defines."""
    tree = ast.parse(path.read_text())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, kinds))


@texts()
def test_every_test_a_text_names_exists(text: Path) -> None:
    missing = [
        f"{path}::{name}"
        for path, name in TEST.findall(text.read_text())
        if not (ROOT / path).is_file() or name not in functions_in(ROOT / path)
    ]

    assert missing == []


def test_every_promise_names_its_test() -> None:
    promised = outside_fences(ROOT / "SEMANTICS.md").split("## What is not promised")[0]
    promises = PROMISE.findall(promised)

    assert len(promises) >= 8
    assert [promise for promise in promises if not TEST.search(promise)] == []


def test_pre_commit_runs_what_lint_runs() -> None:
    makefile = (ROOT / "Makefile").read_text()
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    assert recipe is not None
    commands = [line.strip().removeprefix("$(BIN)/") for line in recipe.group(1).splitlines()]

    assert re.findall(r"entry: \.venv/bin/(.*)", hooks) == commands
