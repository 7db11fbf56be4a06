"""An engine that breaks the contract changes nothing; one request that fails fails alone."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from ipc.errors import BadFrameError
from tests.kernel.llm.world import World, prompt
from tests.reference.llm_engine import Nature


def damaged(report: Any, how: str) -> Any:
    damage = copy.deepcopy(report)
    if how == "another plan's":
        damage["plan"] = 7
    elif how == "a row too many":
        damage["tokens"] += bytes(4)
    elif how == "no bytes":
        damage["tokens"] = [1, 2]
    elif how == "no such token":
        damage["tokens"] = np.array([50, 50], "<i4").tobytes()
    elif how == "no token, no end":
        damage["tokens"] = np.array([-1, 1], "<i4").tobytes()
    elif how == "a slot of nobody":
        damage["texts"] = [[3, "a"]]
    elif how == "a slot that is no number":
        damage["ended"] = [{"slot": "0", "reason": "stop", "text": "", "tokens": 1}]
    elif how == "a wrong count":
        damage["ended"] = [{"slot": 0, "reason": "stop", "text": "", "tokens": 9}]
    elif how == "an unknown reason":
        damage["ended"] = [{"slot": 0, "reason": "quota", "text": "", "tokens": 1}]
    elif how == "a reason that is no text":
        damage["ended"] = [{"slot": 0, "reason": ["stop"], "text": "", "tokens": 1}]
    elif how == "an end that is no map":
        damage["ended"] = ["stop"]
    elif how == "ends that are no list":
        damage["ended"] = 5
    elif how == "ended twice":
        damage["ended"] = [{"slot": 0, "reason": "stop", "text": "", "tokens": 1}] * 2
    else:
        damage["failed"] = [{"slot": 0, "error": "none"}]
    return damage


@pytest.mark.parametrize(
    "how",
    [
        "another plan's",
        "a row too many",
        "no bytes",
        "no such token",
        "no token, no end",
        "a slot of nobody",
        "a slot that is no number",
        "a wrong count",
        "an unknown reason",
        "a reason that is no text",
        "an end that is no map",
        "ends that are no list",
        "ended twice",
        "a failure without error",
    ],
)
def test_a_report_that_breaks_the_contract_changes_nothing(how: str) -> None:
    world = World()
    requests = [world.add(prompt(5, seed), max_tokens=6) for seed in range(2)]
    world.plan()
    report = world.compute()
    assert report is not None
    before = world.scheduler.statistics()

    with pytest.raises(BadFrameError):
        world.scheduler.report(damaged(report, how), world.tick())

    assert world.scheduler.statistics() == before
    assert [request.num_emitted for request in requests] == [0, 0]
    world.report(report)
    world.run()
    world.check_results()


def test_a_report_of_nothing_is_refused() -> None:
    with pytest.raises(BadFrameError):
        World().scheduler.report({"plan": 1}, 0)


def test_an_engine_that_goes_past_max_tokens_is_refused() -> None:
    world = World()
    world.add(prompt(5), max_tokens=1)
    world.plan()
    report = world.compute()
    assert report is not None

    with pytest.raises(BadFrameError):
        world.scheduler.report({**report, "ended": []}, world.tick())


def test_a_request_that_fails_fails_alone() -> None:
    world = World(nature=Nature(one_in_fails=12))
    for seed in range(12):
        world.add(prompt(10, seed), max_tokens=12)

    world.run()

    how = {end for end, _ in world.ends.values()}
    assert how == {"failed", "length"}
    world.check_results()
