"""Waiting for a model's engine, with a progress bar where a person looks on.

The kernel answers ``model_load`` when the engine is ready; until then ``models`` tells how far
it has come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from actors.cli.render import is_terminal

if TYPE_CHECKING:
    from actors.client import Client

_LOOK_EVERY_S = 0.2


def load_with_progress(
    client: Client, model: dict[str, Any], *, is_quiet: bool = False
) -> dict[str, Any]:
    """Load a model, named as a system call names it; return its line of ``models``.

    Raises:
        BadModelError, EngineDownError: why it cannot be loaded. UnknownModelError.
    """
    pool = ThreadPoolExecutor(1)
    try:
        answer: Future[dict[str, Any]] = pool.submit(client.system, "model_load", **model)
        with _bar(model["name"], is_quiet=is_quiet) as show:
            while not wait([answer], _LOOK_EVERY_S).done:
                show(_progress(client.system("models"), model))
        return answer.result()
    finally:
        pool.shutdown(wait=False)  # after Ctrl-C the thread ends with the connection


def _progress(models: list[dict[str, Any]], model: dict[str, Any]) -> float:
    version = model.get("version")
    for info in reversed(models):
        if info["name"] == model["name"] and version in (None, info["version"]):
            return float(info["facts"].get("progress", 0.0))
    return 0.0


@contextmanager
def _bar(name: str, *, is_quiet: bool) -> Iterator[Callable[[float], None]]:
    """Yield what shows progress from 0 to 1: a bar for people, nothing for programs."""
    if is_quiet or not is_terminal():
        yield lambda _: None
        return
    # Imported here: rich is for terminals only (actors/cli/render.py).
    from rich.progress import Progress

    with Progress(transient=True) as progress:
        task = progress.add_task(f"loading {name}", total=1.0)
        yield lambda done: progress.update(task, completed=done)
