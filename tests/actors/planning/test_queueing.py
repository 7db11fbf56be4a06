"""Steady states against published figures, against exact arithmetic, and against a queue run by
hand."""

import heapq
import math
import random
from fractions import Fraction
from math import factorial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.planning.queueing import (
    MAX_ROOM,
    MAX_SERVERS,
    Load,
    Steady,
    erlang_b,
    erlang_c,
    m_g_1,
    m_m_1,
    m_m_c,
    m_m_c_k,
)
from ipc.errors import BadLoadError, UnstableQueueError

RATES = st.floats(0.01, 1e4)


def approx(value: float) -> object:
    """Four digits, as the sources print them or better."""
    return pytest.approx(value, rel=5e-5)


def test_an_eye_clinic_with_three_doctors() -> None:
    """Gross and Harris, Fundamentals of Queueing Theory, section 2.3, the M/M/3 clinic: 6 patients
    an hour, 20 minutes each: Lq = 8/9, Wq = 8.889 min, L = 26/9, W = 28.889 min."""
    clinic = m_m_c(Load(arrival=6 / 60, service=1 / 20), 3)

    assert clinic.number_waiting == approx(8 / 9)
    assert clinic.waiting_time_s == approx(8.8889)  # minutes here
    assert clinic.number_in_system == approx(26 / 9)
    assert clinic.time_in_system_s == approx(28.8889)


def test_a_car_inspection_with_room_for_seven() -> None:
    """Gross and Harris, section 2.5, the M/M/3/7 emission inspection: one car a minute, six minutes
    each: Lq = 3.09, L = 6.06, W = 12.3 min, 30.4 cars an hour find no room (they round between)."""
    station = m_m_c_k(Load(arrival=1, service=1 / 6), 3, 7)

    assert station.number_waiting == pytest.approx(3.09, abs=0.005)
    assert station.number_in_system == pytest.approx(6.06, abs=0.005)
    assert station.time_in_system_s == pytest.approx(12.3, abs=0.06)
    assert 60 * station.refusal_probability == pytest.approx(30.4, abs=0.15)


def test_a_call_centre_of_fifty_five() -> None:
    """The worked Erlang C example that call centres print (360 calls in half an hour of 4 minutes
    each, 55 agents): 0.239 wait, 8.2 s on average."""
    centre = m_m_c(Load(arrival=0.2, service=1 / 240), 55)

    assert centre.wait_probability == pytest.approx(0.239, abs=0.0005)
    assert centre.waiting_time_s == pytest.approx(8.2, abs=0.05)
    assert centre.utilisation == pytest.approx(0.873, abs=0.0005)


@pytest.mark.parametrize(
    ("offered", "servers", "blocking"),
    [(10, 10, 0.2146), (5, 10, 0.0184), (2, 5, 0.0367), (1, 1, 0.5)],
)
def test_erlang_b_is_that_of_the_tables(offered: float, servers: int, blocking: float) -> None:
    """Any printed Erlang B table; the last is 1 / (1 + 1) by definition."""
    assert erlang_b(offered, servers) == pytest.approx(blocking, abs=5e-5)


@pytest.mark.parametrize(("load", "waiting"), [(0.5, 0.5), (0.8, 3.2), (0.9, 8.1), (0.95, 18.05)])
def test_one_exponential_server(load: float, waiting: float) -> None:
    """Kleinrock, Queueing Systems I, (3.26): Lq = load^2 / (1 - load)."""
    assert m_m_1(Load(load, 1)).number_waiting == approx(waiting)


@pytest.mark.parametrize(("load", "waiting"), [(0.5, 0.25), (0.8, 1.6), (0.9, 4.05), (0.95, 9.025)])
def test_one_constant_server_waits_half(load: float, waiting: float) -> None:
    """Kleinrock I, (5.63) with no variation: half of M/M/1."""
    assert m_g_1(Load(load, 1), variation=0).number_waiting == approx(waiting)


def test_the_issues_own_example() -> None:
    """1000/s at 500/s: 2 are not stable, 3 give 2.889 ms."""
    load = Load(1000, 500)

    assert m_m_c(load, 3).time_in_system_s == pytest.approx(2.889e-3, abs=5e-7)
    with pytest.raises(UnstableQueueError):
        m_m_c(load, 2)


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(1, 400), st.integers(0, 40))
def test_every_share_is_that_of_exact_arithmetic(servers: int, tenths: int, extra: int) -> None:
    offered, room = Fraction(tenths, 10), servers + extra
    weights = [
        offered**n
        / (factorial(n) if n <= servers else factorial(servers) * servers ** (n - servers))
        for n in range(room + 1)
    ]
    exact = weights[room] / sum(weights)

    got = m_m_c_k(Load(tenths / 10, 1), servers, room)

    assert got.refusal_probability == pytest.approx(float(exact), rel=1e-9)
    if not extra:
        assert erlang_b(tenths / 10, servers) == pytest.approx(float(exact), rel=1e-9)
    if offered < servers:
        last = offered**servers / factorial(servers) * servers / (servers - offered)
        waits = last / (sum(offered**n / factorial(n) for n in range(servers)) + last)
        assert erlang_c(tenths / 10, servers) == pytest.approx(float(waits), rel=1e-9)


def check_little(steady: Steady) -> None:
    assert steady.number_in_system == pytest.approx(steady.accepted * steady.time_in_system_s)
    assert steady.number_waiting == pytest.approx(
        steady.accepted * steady.waiting_time_s, rel=1e-6, abs=1e-9
    )
    busy = steady.number_in_system - steady.number_waiting
    assert busy == pytest.approx(steady.utilisation * steady.servers, rel=1e-6, abs=1e-9)


@settings(deadline=None)
@given(RATES, RATES, st.integers(1, 200), st.integers(0, 300), st.floats(0, 9))
def test_littles_law_holds_everywhere(
    arrival: float, service: float, servers: int, extra: int, variation: float
) -> None:
    load = Load(arrival, service)
    check_little(m_m_c_k(load, servers, servers + extra))
    if load.offered < 0.999 * servers:
        check_little(m_m_c(load, servers))
    if load.offered < 0.999:
        check_little(m_g_1(load, variation))


def test_thousands_of_servers_lose_no_digit() -> None:
    """Halfin and Whitt, 1981: with c = a + b sqrt(a) the share that waits tends to
    1 / (1 + b Phi(b) / phi(b)), 0.2234 for b = 1."""
    offered = 1e6
    servers = int(offered + math.sqrt(offered))
    normal, density = (
        0.5 * (1 + math.erf(1 / math.sqrt(2))),
        math.exp(-0.5) / math.sqrt(2 * math.pi),
    )

    assert erlang_c(offered, servers) == pytest.approx(1 / (1 + normal / density), rel=2e-3)
    assert m_m_c_k(Load(3000, 1), 3000, 9000).refusal_probability == pytest.approx(
        1 / 6031, rel=0.01
    )


def test_a_queue_run_by_hand_waits_as_planned() -> None:
    """Mean wait of 400,000 simulated requests at three servers, within 5 %."""
    load, random_numbers = Load(2.4, 1), random.Random(7)
    free_at = [0.0, 0.0, 0.0]
    now = waited = 0.0
    for _ in range(400_000):
        now += random_numbers.expovariate(load.arrival)
        begin = max(now, heapq.heappop(free_at))
        waited += begin - now
        heapq.heappush(free_at, begin + random_numbers.expovariate(load.service))

    assert waited / 400_000 == pytest.approx(m_m_c(load, 3).waiting_time_s, rel=0.05)


def test_above_capacity_it_says_how_fast_the_queue_grows() -> None:
    with pytest.raises(UnstableQueueError) as caught:
        m_m_c(Load(1300, 500), 2)

    error = caught.value
    assert (error.arrival_per_s, error.capacity_per_s, error.growth_per_s) == (1300, 1000, 300)
    assert (error.waiting_after_60s, error.min_servers) == (18_000, 3)


def test_at_capacity_the_queue_grows_with_the_root_of_time() -> None:
    """Mean of a reflected random walk, checked by running it."""
    random_numbers, lengths = random.Random(11), []
    for _ in range(2000):
        waiting = 0
        for _ in range(400):  # 400 events of a queue in which as many come as leave: 200 arrivals
            waiting = max(0, waiting + random_numbers.choice((1, -1)))
        lengths.append(waiting)

    with pytest.raises(UnstableQueueError) as caught:
        m_m_c(Load(200 / 60, 200 / 60), 1)

    assert caught.value.growth_per_s == 0
    assert caught.value.waiting_after_60s == pytest.approx(sum(lengths) / len(lengths), rel=0.1)


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: Load(0, 1),
        lambda: Load(1, -1),
        lambda: Load(math.nan, 1),
        lambda: Load(1, math.inf),
        lambda: m_m_c(Load(1, 2), 0),
        lambda: m_m_c_k(Load(1, 2), 3, 2),
        lambda: m_g_1(Load(1, 2), -0.1),
        lambda: m_g_1(Load(1, 2), 1e200),
        lambda: m_m_c(Load(1, 2), MAX_SERVERS + 1),
        lambda: m_m_c_k(Load(1, 2), 3, MAX_ROOM + 1),
        lambda: Load(2.0 * MAX_SERVERS, 1),
        lambda: Load(1e308, 1e-308),
    ],
)
def test_what_is_no_load_is_refused(attempt: object) -> None:
    with pytest.raises(BadLoadError):
        attempt()  # type: ignore[operator]
