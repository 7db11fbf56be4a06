"""The lab's replay: the same history at both levels, and queues with a known answer."""

from __future__ import annotations

import heapq
import math
import random
from itertools import accumulate
from statistics import fmean

import pytest

from actors.planning.queueing import Load, m_m_1, m_m_c
from bench.lab.call import Call
from bench.lab.engine_model import EngineModel
from bench.lab.load import at_load, saturation
from bench.lab.replay import History, Recorded, Replay

SMALL = EngineModel(
    1_000, 20, 100, 0.1, num_blocks=200, max_context=2_000, max_running=8, max_step_tokens=256
)


def calls(count: int, seed: int = 1, gap_s: float = 0.05) -> list[Call]:
    numbers = random.Random(seed)
    found, now = [], 0.0
    for number in range(count):
        now += numbers.expovariate(1 / gap_s)
        prompt = numbers.randint(1, 600)
        group = numbers.randint(0, 3)
        found.append(
            Call(
                number,
                round(now * 1e9),
                prompt,
                numbers.randint(1, 200),
                program=number % 20 + 1,
                owner=number % 3 + 1,
                prefix=((group, min(prompt, 100)),),
            )
        )
    return found


def history(policy: str, *, is_exact: bool, gap_s: float = 0.05) -> History:
    return Replay(Recorded(calls(60, gap_s=gap_s)), SMALL, policy, is_exact=is_exact).run()


@pytest.mark.parametrize("policy", ["fcfs", "sjf", "priority", "deadline"])
@pytest.mark.parametrize("gap_s", [0.02, 0.2])
def test_fast_forward_gives_the_history_of_single_steps(policy: str, gap_s: float) -> None:
    exact = history(policy, is_exact=True, gap_s=gap_s)
    fast = history(policy, is_exact=False, gap_s=gap_s)

    assert fast.skipped > fast.exact / 4
    assert fast.exact + fast.skipped == exact.exact
    assert [each.call.number for each in fast.outcomes] == [
        each.call.number for each in exact.outcomes
    ]
    for ours, theirs in zip(fast.outcomes, exact.outcomes, strict=True):
        # A stretch's time is rounded once, single steps' each.
        assert ours.ended_ns == pytest.approx(theirs.ended_ns, abs=exact.exact)
        assert ours.cached_tokens == theirs.cached_tokens
        assert ours.preemptions == theirs.preemptions


@pytest.mark.parametrize("policy", ["least_attained", "srpt", "round_robin", "fair_share"])
def test_fast_forward_is_close_where_keys_move_by_themselves(policy: str) -> None:
    exact = history(policy, is_exact=True)
    fast = history(policy, is_exact=False)

    def mean(of: History) -> float:
        return fmean(each.completion_ns for each in of.outcomes)

    assert fast.skipped > 0
    assert mean(fast) == pytest.approx(mean(exact), rel=0.1)


def test_a_replay_gives_the_same_history_each_time() -> None:
    assert history("srpt", is_exact=False) == history("srpt", is_exact=False)


def test_a_call_alone_takes_the_time_the_model_says() -> None:
    call = Call(0, 0, prompt_tokens=600, output_tokens=150, program=1, owner=1)

    (outcome,) = Replay(Recorded([call]), SMALL, "fcfs").run().outcomes

    assert outcome.completion_ns == pytest.approx(outcome.alone_ns, rel=1e-3)


def test_stretches_of_a_long_prompt_are_taken_in_one_go() -> None:
    first = Call(0, 0, prompt_tokens=10, output_tokens=30, program=1, owner=1)
    long = Call(1, 1, prompt_tokens=1_500, output_tokens=5, program=2, owner=2)

    exact = Replay(Recorded([first, long]), SMALL, "round_robin", is_exact=True).run()
    fast = Replay(Recorded([first, long]), SMALL, "round_robin").run()

    assert fast.exact + fast.skipped == exact.exact
    assert fast.exact <= 8
    assert fast.outcomes == exact.outcomes


def test_equal_prefixes_are_found_and_others_are_not() -> None:
    prefix = ((7, 320),)
    shared = [Call(n, n * 10**10, 400, 5, n + 1, 1, prefix=prefix) for n in range(3)]
    apart = Call(3, 4 * 10**10, 400, 5, 4, 1, prefix=((8, 320),))

    found = Replay(Recorded([*shared, apart]), SMALL, "fcfs").run()

    assert [each.cached_tokens for each in found.outcomes] == [0, 320, 320, 0]


def test_calls_the_engine_cannot_hold_are_counted_apart() -> None:
    small = Call(0, 0, 100, 5, 1, 1)
    large = Call(1, 0, 1_900, 500, 2, 1)

    found = Replay(Recorded([small, large]), SMALL, "fcfs").run()

    assert [each.call for each in found.outcomes] == [small]
    assert found.refused == [large]


STEP_S, MEAN_STEPS = 0.001, 100


def exponential(mean: float, count: int, numbers: random.Random) -> list[float]:
    """Return the distribution's own quantiles in random order: its mean and spread are exact."""
    values = [-mean * math.log(1 - (place + 0.5) / count) for place in range(count)]
    numbers.shuffle(values)
    return values


def queue_work(load: Load, count: int) -> tuple[list[float], list[int]]:
    """Return arrivals in seconds, and services in steps."""
    numbers = random.Random(5)
    arrivals = list(accumulate(exponential(1 / load.arrival, count, numbers)))
    services = exponential(MEAN_STEPS, count, numbers)
    return arrivals, [max(1, round(steps)) for steps in services]


def replayed_waits(arrivals: list[float], services: list[int], servers: int) -> list[float]:
    """Return the waits in the lab, on an engine with a fixed step and that many slots."""
    model = EngineModel(
        1e6 * STEP_S, 0, 0, 0, num_blocks=20_000, max_context=20_000, max_running=servers
    )
    work = [
        Call(number, round(at * 1e9), 1, steps, number + 1, 1)
        for number, (at, steps) in enumerate(zip(arrivals, services, strict=True))
    ]
    outcomes = Replay(Recorded(work), model, "fcfs").run().outcomes
    return [(each.planned_ns - each.call.arrival_ns) / 1e9 for each in outcomes]


def textbook_waits(arrivals: list[float], services: list[int], servers: int) -> list[float]:
    """Return the waits in a line for several servers: each takes the next when it is free."""
    free = [0.0] * servers
    waits = []
    for at, steps in zip(arrivals, services, strict=True):
        start = max(at, heapq.heappop(free))
        waits.append(start - at)
        heapq.heappush(free, start + steps * STEP_S)
    return waits


def queue_load(servers: int, share: float) -> Load:
    service = 1 / (MEAN_STEPS * STEP_S)
    return Load(share * servers * service, service)


def test_mean_wait_of_one_server_agrees_with_the_queueing_planner() -> None:
    # A mean within 5 % needs more calls than a test can replay: the textbook stands between.
    load = queue_load(1, 0.5)
    few, many = queue_work(load, 150), queue_work(load, 200_000)

    waits = replayed_waits(*few, 1)

    assert fmean(waits) == pytest.approx(fmean(textbook_waits(*few, 1)), abs=STEP_S)
    expected = m_m_1(load).waiting_time_s
    assert fmean(textbook_waits(*many, 1)) == pytest.approx(expected, rel=0.05)


def test_waits_for_several_servers_agree_with_the_textbook_and_that_with_the_planner() -> None:
    load = queue_load(4, 0.7)
    few, many = queue_work(load, 1_000), queue_work(load, 200_000)

    waits = replayed_waits(*few, 4)

    assert fmean(waits) == pytest.approx(fmean(textbook_waits(*few, 4)), abs=STEP_S)
    expected = m_m_c(load, 4).waiting_time_s
    assert fmean(textbook_waits(*many, 4)) == pytest.approx(expected, rel=0.05)


def test_at_a_share_of_saturation_the_engine_is_busy_for_about_that_share() -> None:
    many = calls(500)
    per_s = saturation(many, SMALL)

    found = Replay(Recorded(at_load(many, 0.5, per_s)), SMALL, "fcfs").run()

    span_s = found.outcomes[-1].ended_ns / 1e9
    assert len(found.outcomes) / span_s == pytest.approx(0.5 * per_s, rel=0.1)
