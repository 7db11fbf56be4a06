"""The dependency and size rules of ARCHITECTURE.md, executed.

Imports under TYPE_CHECKING and inside functions count like any other: a cycle that only a type
checker sees is a design cycle all the same. ``import-linter`` checks the layers a second time;
it sees neither Cython files nor cycles inside a folder.
"""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAY_IMPORT = {
    "ext": set(),
    "ipc": {"ext"},
    "kernel": {"ext", "ipc"},
    "actors": {"ext", "ipc"},
    "tools": set(),
}
OURS = MAY_IMPORT.keys() | {"bench", "examples", "tests"}
NO_NOUNS = {"utils", "util", "helpers", "helper", "common", "misc"}
MAX_LINES = 600  # a longer file tells its reason in its head, with the words "Long because"


# What of the kernel may touch the world; all else is the core, and deterministic.
TOUCHES_THE_WORLD = (
    "__main__.py",
    "config.py",  # reads a file and the environment
    "daemon.py",
    "host/",
    "journal/contents.py",
    "journal/file.py",
    "journal/housekeeper.py",
    "journal/journal.py",
    "journal/payload_files.py",
    "resources/agent_groups.py",
    "resources/enforcement.py",
    "resources/gpus.py",
    "resources/monitor.py",
    "resources/node_sampler.py",
    "resources/process_sampler.py",
    "resources/process_table.py",
)
THE_WORLD = {
    "asyncio",
    "ctypes",
    "datetime",
    "fcntl",
    "os",
    "psutil",
    "pynvml",
    "queue",
    "resource",
    "secrets",
    "select",
    "selectors",
    "shutil",
    "signal",
    "socket",
    "sqlite3",
    "subprocess",
    "sys",
    "tempfile",
    "threading",
    "time",
    "uuid",
    "zmq",
}


def sources(*folders: str) -> list[Path]:
    """Return our source files, Python and Cython."""
    found = [path for folder in folders for path in (ROOT / folder).rglob("*.p*")]
    return sorted(path for path in found if path.suffix in {".py", ".pyi", ".pyx", ".pxd"})


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path) for path in sources(*OURS)}


@cache
def imported(path: Path) -> frozenset[str]:
    """Return the modules of ours that a file imports or cimports, fully named."""
    text = path.read_text()
    named = by_ast(text, path) if path.suffix in {".py", ".pyi"} else by_line(text)
    return frozenset(name for name in map(nearest_module, named) if name)


def by_ast(text: str, path: Path) -> Iterator[str]:
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*start, *filter(None, [node.module])])
            # Each name may be a submodule; ``nearest_module`` cuts what is not.
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and called(node) in {"import_module", "__import__"}:
            yield from (argument.value for argument in node.args[:1] if is_text(argument))


def called(node: ast.Call) -> str:
    return getattr(node.func, "attr", getattr(node.func, "id", ""))


def is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


_CYTHON = re.compile(
    r"^\s*(?:from\s+(?P<base>[.\w]+)\s+c?import\s+\(?(?P<names>[\w ,]*)"
    r"|c?import\s+(?P<plain>[\w., ]+))"
)


def by_line(text: str) -> Iterator[str]:
    """The same for Cython, which ``ast`` cannot parse."""
    for line in text.splitlines():
        if not (match := _CYTHON.match(line)):
            continue
        if match["plain"]:
            yield from (name.split()[0] for name in match["plain"].split(",") if name.strip())
            continue
        base = f"ext{match['base']}" if match["base"].startswith(".") else match["base"]
        names = [name.split()[0] for name in match["names"].split(",") if name.strip()]
        yield from [f"{base.rstrip('.')}.{name}" for name in names] or [base]


def nearest_module(name: str) -> str | None:
    """Return the longest prefix that is a module of ours; None for what is not ours."""
    while name:
        if name in MODULES:
            return name
        name = name.rpartition(".")[0]
    return None


def is_allowed(path: Path, other: str) -> bool:
    """The one exception: actors.testing runs the kernel's core in memory."""
    folder = path.relative_to(ROOT).parts[0]
    top = other.split(".")[0]
    is_test_kit = folder == "actors" and path.relative_to(ROOT / "actors").parts[0].startswith(
        "testing"
    )
    return top in MAY_IMPORT[folder] | {folder} or (is_test_kit and top == "kernel")


def test_no_folder_imports_one_it_may_not() -> None:
    broken = [
        f"{path.relative_to(ROOT)} imports {other}"
        for path in sources(*MAY_IMPORT)
        for other in sorted(imported(path))
        if not is_allowed(path, other)
    ]

    assert broken == []


def test_only_the_test_kit_imports_the_test_kit() -> None:
    broken = [
        str(path.relative_to(ROOT))
        for path in sources(*MAY_IMPORT)
        if not path.name.startswith("testing") and "testing" not in path.parent.name
        for other in imported(path)
        if other.startswith("actors.testing")
    ]

    assert broken == []


@pytest.mark.parametrize("folder", sorted(MAY_IMPORT))
def test_no_import_goes_in_a_circle(folder: str) -> None:
    graph: dict[str, set[str]] = {}
    for path in sources(folder):
        name = module_name(path)
        inside = {other for other in imported(path) if other.split(".")[0] == folder}
        graph.setdefault(name, set()).update(inside - {name})

    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as problem:
        pytest.fail(" -> ".join(reversed(problem.args[1])))
    assert set(order) >= graph.keys()


def test_the_kernels_core_has_time_randomness_and_io_from_outside() -> None:
    core = [
        path
        for path in sources("kernel")
        if not str(path.relative_to(ROOT / "kernel")).startswith(TOUCHES_THE_WORLD)
    ]
    broken = [
        f"{path.relative_to(ROOT)}: {it}" for path in core for it in reaches_out(path.read_text())
    ]

    assert broken == []
    assert len(core) > 100
    assert reaches_out("import os.path, ipc\nfrom time import time") == ["os.path", "time"]
    assert reaches_out("import random\nrandom.Random(7)\nrandom.random()") == ["random.random"]


def reaches_out(text: str) -> list[str]:
    """Return what a file imports of the world, and its uses of the generator that all share."""
    used = [name for node in ast.walk(ast.parse(text)) for name in used_by(node)]
    return [name for name in used if name.split(".")[0] in THE_WORLD | {"random"}]


def used_by(node: ast.AST) -> list[str]:
    """Return the modules that a statement imports, and names of `random` but its class."""
    match node:
        case ast.Import():
            return [alias.name for alias in node.names if alias.name != "random"]
        case ast.ImportFrom(module="random"):
            return [f"random.{alias.name}" for alias in node.names if alias.name != "Random"]
        case ast.ImportFrom():
            return [node.module or ""]
        case ast.Attribute(value=ast.Name(id="random")) if node.attr != "Random":
            return [f"random.{node.attr}"]
    return []


def test_no_file_is_named_after_nothing() -> None:
    assert [str(path) for path in sources(*OURS) if path.stem in NO_NOUNS] == []


def test_long_files_say_why() -> None:
    long = [path for path in sources(*OURS) if len(path.read_text().splitlines()) > MAX_LINES]

    assert [str(path) for path in long if "Long because" not in head(path)] == []


@pytest.mark.parametrize("path", sources(*MAY_IMPORT), ids=lambda path: str(path.relative_to(ROOT)))
def test_each_file_opens_with_what_it_does(path: Path) -> None:
    if path.suffix == ".pyi" or path.read_text().strip() == "":
        return

    assert head(path).strip(), "no head"


def head(path: Path) -> str:
    """Return the module's docstring; of Cython the comments and the docstring at the top."""
    text = path.read_text()
    if path.suffix == ".py":
        return ast.get_docstring(ast.parse(text)) or ""
    comments, *rest = text.split('"""')
    return "\n".join([line for line in comments.splitlines() if line.startswith("#")] + rest[:1])


def test_each_compiled_part_has_a_stub() -> None:
    compiled = {path.stem for path in (ROOT / "ext").glob("*.pyx")}

    assert {path.stem for path in (ROOT / "ext").glob("*.pyi")} == compiled
    for name in compiled:
        stub = ast.parse((ROOT / "ext" / f"{name}.pyi").read_text())
        module = importlib.import_module(f"ext.{name}")
        declared = {node.name for node in stub.body if isinstance(node, ast.FunctionDef)}
        assert [item for item in declared if not hasattr(module, item)] == []


def test_the_rules_see_what_they_are_for() -> None:
    """A checker that finds nothing because it looks at nothing is worse than none."""
    path = ROOT / "ipc" / "made_up.py"
    hidden = "def f():\n    from typing import TYPE_CHECKING\n    if TYPE_CHECKING:\n"

    assert set(by_ast(f"{hidden}        from kernel.config import Config", path)) >= {
        "kernel.config.Config"
    }
    assert list(by_ast("from . import errors", path)) == ["ipc.errors"]
    assert list(by_ast("import importlib\nimportlib.import_module('kernel.core')", path)) == [
        "importlib",
        "kernel.core",
    ]
    assert list(by_line("from ext.wire cimport xxh64, FrameHeader")) == [
        "ext.wire.xxh64",
        "ext.wire.FrameHeader",
    ]
    assert list(by_line("cimport ipc.errors as e\nimport kernel")) == ["ipc.errors", "kernel"]
    assert nearest_module("ipc.errors.LLMOSError") == "ipc.errors"
    assert nearest_module("collections.abc") is None
    assert not is_allowed(path, "kernel")
    assert is_allowed(ROOT / "actors" / "testing.py", "kernel.core")
