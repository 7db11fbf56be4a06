"""From a class, or what names one, to the spec that the kernel journals and a process loads.

A spec must work in another process, at another time: modules are named with the spawner's
``sys.path``, files by absolute path. A class of ``__main__`` is named by its file, so that it
can be spawned from a script; the file is then loaded as a module and its
``if __name__ == "__main__"`` part does not run.

What it is not: the loading (actors/loader.py).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from actors import bodies
from actors.schema import Signature
from ipc.budget import read_budget
from ipc.errors import BadSpecError, UsageError
from ipc.protocol import SpawnSpec
from ipc.resources import parse_amount, parse_amounts

NameClass = Callable[[type[Any]], SpawnSpec]
Restart = Literal["permanent", "transient", "temporary"]

FILE_MARK = "__llmos_file__"  # attribute of a module that the loader made from a file


def make_spec(
    target: type[Any] | str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    naming: NameClass | None = None,
    cwd: str | None = None,
    restart: Restart = "permanent",
    rlimits: Mapping[str, int] | None = None,
    environment: Mapping[str, str] | None = None,
    budget: Mapping[str, Any] | None = None,
    reserve: Mapping[str, Any] | None = None,
    cpu_limit: float | None = None,
    **options: Any,
) -> SpawnSpec:
    """Return the spec.

    naming: in place of ``name_class``. options: further fields of SpawnSpec; None: left out.

    Raises:
        BadSpecError: the target names no class. SchemaError: the arguments do not fit it.
        BadBudgetError, BadResourceError: no resource there is, or no amount.
    """
    if restart not in get_args(Restart):
        raise UsageError(reason=f"restart is one of {get_args(Restart)}, not {restart!r}")
    where = cwd or os.getcwd()
    if isinstance(target, type):
        spec = (naming or name_class)(target)
    else:
        spec = _name_target(target, where)
    if isinstance(target, type) and target.__init__ is not object.__init__:
        signature = Signature(target.__init__, target.__name__)
        signature.bind(list(args), dict(kwargs))
    spec["cwd"] = where
    spec["sys_path"] = [os.path.abspath(os.path.join(where, entry)) for entry in sys.path]
    spec["arguments"] = bodies.to_stored([list(args), kwargs])
    if refs := bodies.encode([list(args), kwargs]).refs:
        spec["handles"] = sorted(set(refs))
    spec["restart"] = restart
    if rlimits:
        spec["rlimits"] = dict(rlimits)
    if environment:
        spec["environment"] = dict(environment)
    if budget and (limits := read_budget(budget)):
        spec["budget"] = limits
    if reserve:
        spec["reserve"] = parse_amounts(reserve)
    if cpu_limit is not None:
        spec["cpu_limit"] = parse_amount("cpu", cpu_limit)
    for key, value in options.items():
        if value is not None:
            spec[key] = value  # type: ignore[literal-required]
    return spec


def name_class(actor_class: type[Any]) -> SpawnSpec:
    """Return the part of a spec that names a class.

    Raises:
        BadSpecError: another process could not find it.
    """
    qualname = actor_class.__qualname__
    if "<locals>" in qualname:
        problem = "a class made inside a function cannot be found again by another process"
        raise BadSpecError(target=qualname, problem=problem, traceback="")
    module = actor_class.__module__
    path = _file_of(module)
    if path is not None:
        target = f"{path}:{qualname}"
        return SpawnSpec(target=target, path=path, module=None, qualname=qualname)
    return SpawnSpec(target=f"{module}:{qualname}", path=None, module=module, qualname=qualname)


def _file_of(module_name: str) -> str | None:
    """Return the file, where the module can only be found by that."""
    module = sys.modules.get(module_name)
    marked = getattr(module, FILE_MARK, None)
    if marked is not None:
        return str(marked)
    if module_name != "__main__":
        return None
    path = getattr(module, "__file__", None)
    if path is None:
        problem = "a class of an interactive session has no file: put it into a module"
        raise BadSpecError(target=module_name, problem=problem, traceback="")
    return os.path.abspath(str(path))


def _name_target(target: str, cwd: str) -> SpawnSpec:
    place, colon, qualname = target.rpartition(":")
    if not colon or not place or not qualname:
        problem = "say module:Class or path/to/file.py:Class"
        raise BadSpecError(target=target, problem=problem, traceback="")
    if place.endswith(".py") or os.sep in place:
        path = str((Path(cwd) / Path(place).expanduser()).resolve())
        return SpawnSpec(target=target, path=path, module=None, qualname=qualname)
    return SpawnSpec(target=target, path=None, module=place, qualname=qualname)
