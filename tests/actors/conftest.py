"""Fixtures: scripted kernels that are closed after the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from actors.actor import Actor
from tests.actors.scripted import ScriptedKernel

Script = Callable[..., ScriptedKernel]


@pytest.fixture
def script() -> Iterator[Script]:
    """Return a maker of scripted kernels: ``script(ActorClass, *constructor_args)``."""
    made: list[ScriptedKernel] = []

    def make(actor_class: type[Actor], *args: Any, **options: Any) -> ScriptedKernel:
        made.append(ScriptedKernel(actor_class, *args, **options))
        return made[-1]

    yield make
    for kernel in made:
        kernel.close()
