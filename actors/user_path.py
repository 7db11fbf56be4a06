"""Where an agent finds its user's modules: after ours and after the installed packages.

A user's own folder called ``actors`` or ``kernel`` can therefore not shadow ours; when the
user's module is in such a folder, ``clash_of`` tells so by name.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.machinery import PathFinder
from pathlib import Path

from ipc.start import PACKAGE_ROOT

OUR_PACKAGES = frozenset({"actors", "kernel", "ipc", "ext"})


def arrange_own_path() -> None:
    """Put ``sys.path`` of a process started by ``own_python`` in order.

    Our root, put first for our own imports, goes to its usual place; so does what
    PYTHONPATH had put before the standard library.
    """
    users = {os.path.abspath(entry) for entry in os.environ.get("PYTHONPATH", "").split(":")}
    rest = sys.path[1:]
    ours = [] if PACKAGE_ROOT in rest and PACKAGE_ROOT not in users else [PACKAGE_ROOT]
    late = [entry for entry in rest if entry in users and entry != PACKAGE_ROOT]
    sys.path[:] = [entry for entry in rest if entry not in users] + ours + late


def extend_user_path(entries: Sequence[str], cwd: str) -> None:
    """Append a spawner's ``sys.path``; relative entries are relative to its directory."""
    for entry in entries:
        path = os.path.join(cwd, entry) if entry else cwd
        if path not in sys.path:
            sys.path.append(path)


def clash_of(module: str) -> str | None:
    """Say which folder or file of the user's has a name of ours, if ``module`` is in one.

    module: what could not be imported, e.g. "actors.mine".
    Returns: a sentence for people, or None if that is not the reason.
    """
    package = module.partition(".")[0]
    if package not in OUR_PACKAGES:
        return None
    for entry in sys.path:
        found = PathFinder.find_spec(package, [entry])
        if found is None:
            continue
        places = list(found.submodule_search_locations or [])
        place = Path(places[0] if places else found.origin or entry).resolve()
        if place.parent != Path(PACKAGE_ROOT):
            return f"{place} is named like the package {package!r} of llmos: rename it"
    return None
