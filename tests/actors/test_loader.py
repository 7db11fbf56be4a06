"""From a target as the user writes it to a loaded class."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors import Actor, receive
from actors.loader import load_program
from actors.spawning import make_spec
from ipc.errors import BadSpecError, SchemaError, UsageError

GOOD = """
from actors import Actor, receive

class Greeter(Actor):
    def __init__(self, word: str = "hello"):
        self.word = word

    @receive
    async def greet(self, name: str) -> str:
        return f"{self.word} {name}"

class NoActor:
    pass

raise_at_import = __name__ == "__main__" and 1 / 0
"""


CLASS = "from actors import Actor, receive\nclass Greeter(Actor):\n"


class Local(Actor):
    def __init__(self, count: int) -> None:
        self.count = count

    @receive
    async def get(self) -> int:
        return self.count


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def write(folder: Path, text: str, name: str = "greeting.py") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def test_a_class_of_a_file_is_loaded_and_described(folder: Path) -> None:
    path = write(folder, GOOD)

    program = load_program(make_spec(f"{path}:Greeter", (), {}))

    assert list(program.declares()["handlers"].values()) == ["async def greet(name: str) -> str"]
    assert folder.as_posix() in sys.path


def test_a_relative_file_is_found_from_the_working_directory(folder: Path) -> None:
    write(folder, GOOD)

    spec = make_spec("greeting.py:Greeter", (), {}, cwd=str(folder))

    assert spec["path"] == str(folder / "greeting.py")
    assert load_program(spec).actor_class.__name__ == "Greeter"


def test_a_class_loaded_from_a_file_spawns_by_that_file(folder: Path) -> None:
    path = write(folder, GOOD)
    program = load_program(make_spec(f"{path}:Greeter", (), {}))

    spec = make_spec(program.actor_class, ("hi",), {})

    assert (spec["path"], spec["qualname"]) == (path, "Greeter")


def test_a_class_of_a_module_is_named_by_it() -> None:
    spec = make_spec(Local, (3,), {}, name="local", restart="transient")

    assert (spec["module"], spec["qualname"], spec["path"]) == (__name__, "Local", None)
    assert (spec["name"], spec["restart"]) == ("local", "transient")
    assert load_program(spec).actor_class is Local


@pytest.mark.parametrize("target", ["greeting", ":Greeter", "greeting.py:", "nothing"])
def test_a_target_that_names_no_class_is_refused(target: str) -> None:
    with pytest.raises(BadSpecError, match="say module:Class"):
        make_spec(target, (), {})


def test_constructor_arguments_are_checked_where_the_class_is_known() -> None:
    with pytest.raises(SchemaError, match="argument 'count'"):
        make_spec(Local, ("three",), {})


def test_an_unknown_restart_is_refused() -> None:
    with pytest.raises(UsageError, match="restart is one of"):
        make_spec(Local, (3,), {}, restart="always")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("import nothing_like_this", "ModuleNotFoundError"),
        ("1 / 0", "ZeroDivisionError"),
        ("def broken(:", "SyntaxError"),
        ("raise SystemExit(3)", "SystemExit"),
        ("Greeter = 5", "not a class derived from actors.Actor"),
        ("", "no attribute 'Greeter'"),
        (CLASS + "    concurrency = 0", "concurrency is at least 1, not 0"),
        (CLASS + "    lease_s = 'long'", "lease_s is in seconds, not 'long'"),
        (CLASS + "    period_s = float('nan')", "period_s is in seconds, not nan"),
        (CLASS + "    strategy = 'all'", "strategy is one of one_for_one"),
        (CLASS + "    @receive\n    async def tell(self): ...", "cannot be called 'tell'"),
    ],
)
def test_what_is_wrong_with_a_module_is_said(folder: Path, text: str, problem: str) -> None:
    path = write(folder, text)

    with pytest.raises(BadSpecError, match=problem):
        load_program(make_spec(f"{path}:Greeter", (), {}))


def test_the_traceback_shows_the_users_frames_alone(folder: Path) -> None:
    write(folder, "def deep():\n    1 / 0\n", "helper.py")
    path = write(folder, "import helper\nhelper.deep()\n")

    with pytest.raises(BadSpecError) as caught:
        load_program(make_spec(f"{path}:Greeter", (), {}))

    text = caught.value.traceback
    assert "greeting.py" in text
    assert "helper.py" in text
    assert "loader.py" not in text
    assert "importlib" not in text


def test_a_folder_of_the_users_named_like_ours_is_named(folder: Path) -> None:
    (folder / "actors").mkdir()
    write(folder / "actors", GOOD, "mine.py")
    sys.path.append(str(folder))

    with pytest.raises(BadSpecError, match="is named like the package 'actors' of llmos"):
        load_program(make_spec("actors.mine:Greeter", (), {}))


def test_a_class_made_inside_a_function_cannot_be_spawned() -> None:
    class Inner(Actor):
        pass

    with pytest.raises(BadSpecError, match="inside a function"):
        make_spec(Inner, (), {})
