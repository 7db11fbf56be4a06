"""Whatever the kernel plans, a request's tokens are what they would be alone."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.torch_engine.models import VOCAB, greedy
from tests.torch_engine.scheduler import Job, Scheduler, assembled
from tests.trials import trials

OUTPUT = 9
MAX_STEPS = 400


@cache
def engine(name: str) -> Any:
    return assembled(name, host_kv_bytes=1 << 19)


@cache
def prompt(index: int) -> list[int]:
    found: list[int] = np.random.default_rng(index).integers(3, VOCAB, 5 + 7 * index).tolist()
    return found


@cache
def expected(name: str, index: int) -> list[int]:
    return greedy(name, prompt(index), OUTPUT)


def disturb(scheduler: Scheduler, jobs: list[Job], draw: Any) -> None:
    """Do one thing to one job, if it can be done."""
    job = draw(st.sampled_from(jobs))
    act = draw(st.sampled_from(["preempt", "swap", "share", "none", "none"]))
    if job.ended is not None:
        return
    if act == "preempt" and job.slot is not None:
        scheduler.preempt(job)
    elif act == "swap" and job.slot is not None and job.blocks:
        scheduler.swap_out(job)
    elif act == "share" and job.slot is None and job.host_blocks is None and not job.blocks:
        other = draw(st.sampled_from(jobs))
        same = next(
            (i for i, (a, b) in enumerate(zip(job.ids, other.ids, strict=False)) if a != b),
            min(len(job.ids), len(other.ids)),
        )
        if other.slot is not None and min(same, other.computed) > 0:
            scheduler.share(job, other, min(same, other.computed))


@settings(max_examples=trials(36), deadline=None)
@given(data=st.data(), name=st.sampled_from(["llama", "gemma2"]))
def test_any_schedule_gives_the_tokens_of_a_run_alone(data: Any, name: str) -> None:
    scheduler = Scheduler(engine(name))
    indexes = data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=5))
    jobs = [scheduler.submit(prompt(index), OUTPUT) for index in indexes]

    for _ in range(MAX_STEPS):
        open_jobs = [job for job in jobs if job.ended is None]
        if not open_jobs:
            break
        disturb(scheduler, jobs, data.draw)
        for job in open_jobs:
            if job.slot is None and data.draw(st.booleans()):
                scheduler.admit(job)
        active = [job for job in open_jobs if job.slot is not None and data.draw(st.booleans())]
        decode = [job for job in active if job.is_decoding]
        chunk = data.draw(st.integers(1, 30))
        scheduler.step([(job, chunk) for job in active if not job.is_decoding], decode)
    else:
        scheduler.run_all(jobs)

    assert [job.completion for job in jobs] == [expected(name, index) for index in indexes]
    assert [job.ended["reason"] for job in jobs] == ["length"] * len(jobs)


def test_a_plan_that_goes_on_after_the_end_gives_no_token_and_harms_nobody() -> None:
    scheduler = Scheduler(engine("llama"))
    runner, completions = scheduler.engine.runner, scheduler.engine.completions
    short, long = scheduler.submit(prompt(1), 2), scheduler.submit(prompt(2), OUTPUT)
    for job in (short, long):
        scheduler.admit(job)
    scheduler.step([(short, 99), (long, 99)])
    slot = short.slot
    scheduler.step([], [short, long])

    scheduler.pending.pop("drop")  # the kernel has not read the end yet: it plans both again
    scheduler.decoding.add(slot or 0)
    scheduler._reserve(long, len(long.ids))
    plan = scheduler._take_plan()
    tokens = np.frombuffer(completions.report(runner.run(plan))["tokens"], "<i4")

    assert short.ended["tokens"] == 2
    at = 0 if (slot or 0) < (long.slot or 0) else 1
    assert tokens[at] == -1
    assert tokens[1 - at] == expected("llama", 2)[2]


def test_a_slot_planned_beyond_its_blocks_fails_alone() -> None:
    scheduler = Scheduler(engine("llama"))
    good, bad = scheduler.submit(prompt(1), OUTPUT), scheduler.submit(prompt(2), OUTPUT)
    for job in (good, bad):
        scheduler.admit(job)
    bad_add = scheduler.adds[1]

    scheduler._reserve(bad, len(bad.ids))
    bad_add["blocks"] = bad_add["blocks"][:4]
    scheduler.step([(good, 99), (bad, 99)])
    scheduler.run_all([good])

    assert bad.error["code"] == 900
    assert good.completion == expected("llama", 1)


def test_weights_that_are_no_numbers_fail_the_one_request_that_meets_them() -> None:
    import torch

    own = assembled("llama")
    scheduler = Scheduler(own)
    with torch.inference_mode():
        own.loaded.model.get_input_embeddings().weight[150] = float("nan")

    good = scheduler.submit([t for t in prompt(1) if t != 150], 1)
    bad = scheduler.submit([5, 150, 7], OUTPUT)
    scheduler.run_all()

    assert bad.error["code"] == 310
    assert bad.error["fields"]["position"] == 3
    assert good.ended["reason"] == "length"


def test_a_request_that_cannot_be_served_fails_alone() -> None:
    scheduler = Scheduler(engine("llama"))
    good = scheduler.submit(prompt(1), OUTPUT)
    bad = [
        scheduler.submit([5, 6], OUTPUT, temperature=-1.0),
        scheduler.submit([5, VOCAB], OUTPUT),
        scheduler.submit([5] * 300, OUTPUT),
    ]

    scheduler.run_all()

    assert [job.error["code"] for job in bad] == [120, 118, 119]
    assert good.completion == expected("llama", 1)
