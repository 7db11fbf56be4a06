"""Loads the class a spec names, in the process that is to run it.

A file is loaded as a module of its stem's name, with its directory at the end of ``sys.path``
(user code comes after installed packages; the spawner's path is there already,
actors/user_path.py). Whatever the user's module raises becomes BadSpecError with a traceback
of the user's own frames.

Cost: the import of the user's module.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from functools import reduce
from pathlib import Path
from types import ModuleType
from typing import Any

from actors.actor import Actor
from actors.failure import user_traceback
from actors.program import Program
from actors.spawning import FILE_MARK
from actors.user_path import clash_of
from ipc.errors import BadSpecError, UsageError
from ipc.protocol import SpawnSpec


def load_program(spec: SpawnSpec) -> Program:
    """Return the program a spec names.

    Raises:
        BadSpecError: it cannot be imported, is not there, or is not an actor class.
    """
    target = spec["target"]
    try:
        module = _load_module(spec)
    except (Exception, SystemExit) as error:
        problem = f"{type(error).__name__}: {error}{_clash(error)}"
        text = user_traceback(error)
        raise BadSpecError(target=target, problem=problem, traceback=text) from None
    try:
        found: Any = reduce(getattr, spec["qualname"].split("."), module)
    except AttributeError as error:
        raise BadSpecError(target=target, problem=str(error), traceback="") from None
    return make_program(found, spec)


def make_program(found: Any, spec: SpawnSpec) -> Program:
    """Return the program of a class. Raises BadSpecError: it is no actor class, or a bad one."""
    target = spec["target"]
    if not isinstance(found, type) or not issubclass(found, Actor):
        problem = f"{spec['qualname']} is not a class derived from actors.Actor"
        raise BadSpecError(target=target, problem=problem, traceback="")
    try:
        return Program(found, target, spec["arguments"])
    except UsageError as error:
        raise BadSpecError(target=target, problem=str(error), traceback="") from None


def _load_module(spec: SpawnSpec) -> ModuleType:
    path, name = spec.get("path"), spec.get("module")
    if path:
        return _load_file(Path(path))
    if not name:
        raise ImportError("the spec names neither a module nor a file")
    return importlib.import_module(name)


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    directory = str(path.parent)
    if directory not in sys.path:
        sys.path.append(directory)
    name = path.stem if path.stem not in sys.modules else f"{path.stem}__agent"
    found = importlib.util.spec_from_file_location(name, path)
    if found is None or found.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(found)
    setattr(module, FILE_MARK, str(path))
    sys.modules[name] = module
    found.loader.exec_module(module)
    return module


def _clash(error: BaseException) -> str:
    """Return a hint if a folder of the user's has a name of ours."""
    missing = getattr(error, "name", None) if isinstance(error, ImportError) else None
    clash = clash_of(missing) if missing else None
    return f"; {clash}" if clash else ""
