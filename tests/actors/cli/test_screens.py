"""What people see who look on at a terminal (a pty): the live screen of `top`, the progress bar."""

from __future__ import annotations

import pytest

from actors.cli.exits import Exit
from tests.actors.cli.pseudo_terminal import Talk

pytestmark = pytest.mark.slow


def test_top_draws_engines_and_agents_until_it_is_left(talk: Talk) -> None:
    top = talk("top", "-i", "0.1")
    top.expect("ENGINE")
    top.expect("engine.small.1")
    top.expect("50/200")
    top.expect("hits")
    top.type("\x03")

    assert top.end() == Exit.INTERRUPTED


def test_loading_a_model_shows_how_far_it_has_come(talk: Talk) -> None:
    load = talk("model", "load", "small")
    load.expect("loading small")
    load.expect("small@3 is ready on 1 engine")

    assert load.end() == Exit.OK


def test_loading_can_be_left(talk: Talk) -> None:
    load = talk("model", "load", "slow")
    load.expect("loading slow")
    load.type("\x03")

    assert load.end() == Exit.INTERRUPTED
