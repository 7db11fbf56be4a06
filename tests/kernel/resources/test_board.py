"""kernel/resources/board.py, usage.py, bottleneck.py: what follows from looks at the machine."""

import pytest

from kernel.resources.board import Board
from kernel.resources.bottleneck import BottleneckWatch
from kernel.resources.samples import GpuSample, NetworkSample
from kernel.resources.usage import Use
from tests.kernel.resources.looks import SECOND, agent, samples


def always(actor: int, incarnation: int) -> bool:
    return True


def use_of(board: Board, name: str) -> Use:
    return next(use for use in board.uses if use.name == name)


def test_an_agents_cpu_share_is_the_mean_between_two_looks() -> None:
    board = Board()
    board.take(samples(0, agent(cpu_ns=0)), always)
    board.take(samples(2, agent(cpu_ns=SECOND)), always)

    assert board.agents[5].cpu_millis == pytest.approx(500)


def test_a_new_incarnation_begins_without_rates() -> None:
    board = Board()
    board.take(samples(0, agent(cpu_ns=9 * SECOND)), always)
    board.take(samples(1, agent(incarnation=2, cpu_ns=SECOND)), always)

    assert board.agents[5].cpu_millis == 0


def test_a_sample_of_an_incarnation_that_is_over_is_left_out() -> None:
    board = Board()
    board.take(samples(0, agent(5, 1), agent(6, 4)), lambda actor, incarnation: incarnation == 4)

    assert list(board.agents) == [6]


def test_a_rate_reaches_a_steady_load_and_forgets_a_single_peak() -> None:
    board = Board()
    busy_ns = 0
    board.take(samples(0), always)
    for second in range(1, 31):
        busy_ns += 2 * SECOND
        board.take(samples(second, cpu_busy_ns=busy_ns), always)
    at_full = use_of(board, "cpu").share
    board.take(samples(31, cpu_busy_ns=busy_ns), always)
    after_an_idle_second = use_of(board, "cpu").share

    assert at_full == pytest.approx(1.0)
    assert after_an_idle_second == pytest.approx(0.82, abs=0.01)


def test_a_link_is_as_busy_as_its_busier_direction() -> None:
    board = Board()
    link = NetworkSample("eth0", True, 8_000, 0, 0)
    board.take(samples(0, networks=(link,)), always)
    link = NetworkSample("eth0", True, 8_000, 500, 250)
    board.take(samples(1, networks=(link,)), always)

    assert use_of(board, "network.eth0").share == pytest.approx(0.5)


def test_a_link_of_unknown_speed_has_no_share() -> None:
    board = Board()
    board.take(samples(0, networks=(NetworkSample("lo", True, None, 0, 0),)), always)

    assert use_of(board, "network.lo").share is None


def test_a_gpu_is_two_resources() -> None:
    board = Board()
    board.take(samples(0, gpus=(GpuSample(0, "u", "n", 100, 25, 0.5),)), always)

    assert use_of(board, "gpu.0").share == 0.5
    assert use_of(board, "gpu.0.memory").share == 0.25


def test_the_bottleneck_is_the_resource_nearest_its_limit_and_since_when() -> None:
    watch = BottleneckWatch()
    watch.update([Use("memory", "memory", 91, 100)], 1)
    found = watch.update([Use("memory", "memory", 92, 100), Use("cpu", "cpu", 95, 100)], 2)

    assert found is not None
    assert (found.name, found.since_ns) == ("cpu", 2)
    found = watch.update([Use("memory", "memory", 96, 100), Use("cpu", "cpu", 95, 100)], 3)
    assert found is not None
    assert (found.name, found.since_ns) == ("memory", 1)


def test_a_resource_stays_the_bottleneck_until_it_is_clear_of_its_limit() -> None:
    watch = BottleneckWatch()

    def found(used: int, now_ns: int) -> int | None:
        one = watch.update([Use("cpu", "cpu", used, 100)], now_ns)
        return one.since_ns if one is not None else None

    assert found(89, 1) is None
    assert found(90, 2) == 2
    assert found(80, 3) == 2
    assert found(79, 4) is None
    assert found(85, 5) is None


def test_of_equals_the_one_that_has_been_near_for_longer_is_named() -> None:
    watch = BottleneckWatch()
    watch.update([Use("memory", "memory", 95, 100)], 1)
    found = watch.update([Use("cpu", "cpu", 95, 100), Use("memory", "memory", 95, 100)], 2)

    assert found is not None
    assert found.name == "memory"


def test_a_resource_of_unknown_capacity_is_never_the_bottleneck() -> None:
    assert BottleneckWatch().update([Use("network.lo", "network", 1e12, None)], 1) is None
