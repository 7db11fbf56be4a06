"""kernel/resources/process_sampler.py: with tables made by hand, and with real processes."""

import os
import signal
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.resources import process_sampler
from kernel.resources.process_sampler import ProcessSampler, Root
from kernel.resources.process_table import ProcessTable, Row, read_row

NO_SUCH_PID = 1 << 23  # above any pid of this machine: CPU time is taken from the row


def row(pid: int, parent: int = 1, cpu_ns: int = 0, reaped_ns: int = 0) -> Row:
    return Row(NO_SUCH_PID + pid, NO_SUCH_PID + parent, 7, cpu_ns, reaped_ns, 2, 4096)


class Tables:
    """What the next looks at /proc will show."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def read(self) -> ProcessTable:
        return ProcessTable(self.rows)


def root_of(pid: int, start_time: int = 7) -> Root:
    return Root(actor=5, incarnation=1, pid=NO_SUCH_PID + pid, start_time=start_time)


def test_a_tree_is_the_process_and_all_its_descendants() -> None:
    tables = Tables()
    tables.rows = [row(1, 0, 100), row(2, 1, 10), row(3, 2, 5), row(4, 9, 1000)]

    (sample,) = ProcessSampler(tables.read).sample([root_of(1)])

    assert sample.cpu_ns == 115
    assert (sample.processes, sample.threads, sample.rss_bytes) == (3, 6, 3 * 4096)


def test_a_process_that_only_has_the_same_pid_is_not_sampled() -> None:
    tables = Tables()
    tables.rows = [row(1, 0, 100)]

    assert ProcessSampler(tables.read).sample([root_of(1, start_time=8)]) == ()


def test_a_child_that_was_waited_for_is_counted_once() -> None:
    tables = Tables()
    sampler = ProcessSampler(tables.read)
    tables.rows = [row(1, 0, 100), row(2, 1, 50)]
    sampler.sample([root_of(1)])

    tables.rows = [row(1, 0, 100, reaped_ns=60)]
    (sample,) = sampler.sample([root_of(1)])

    assert sample.cpu_ns == 160


def test_what_a_child_had_used_is_kept_when_nobody_waits_for_it() -> None:
    tables = Tables()
    sampler = ProcessSampler(tables.read)
    tables.rows = [row(1, 0, 100), row(2, 1, 50)]
    sampler.sample([root_of(1)])

    tables.rows = [row(1, 0, 110)]
    (after,) = sampler.sample([root_of(1)])
    tables.rows = [row(1, 0, 130)]
    (later,) = sampler.sample([root_of(1)])

    assert after.cpu_ns == 150
    assert later.cpu_ns == 170


@given(st.lists(st.lists(st.integers(0, 1000), min_size=1, max_size=5), min_size=1, max_size=20))
def test_cpu_time_of_an_incarnation_never_falls(looks: list[list[int]]) -> None:
    tables = Tables()
    sampler = ProcessSampler(tables.read)
    last_ns = 0
    for times in looks:
        tables.rows = [row(1, 0, times[0])]
        tables.rows += [row(number, 1, ns) for number, ns in enumerate(times[1:], 2)]

        (sample,) = sampler.sample([root_of(1)])

        assert sample.cpu_ns >= last_ns
        last_ns = sample.cpu_ns


def test_an_incarnation_that_is_over_is_forgotten() -> None:
    tables = Tables()
    sampler = ProcessSampler(tables.read)
    tables.rows = [row(1, 0, 500)]
    sampler.sample([root_of(1)])
    sampler.sample([])

    tables.rows = [row(1, 0, 3)]
    (sample,) = sampler.sample([root_of(1)])

    assert sample.cpu_ns == 3


def test_the_share_of_shared_pages_is_looked_at_in_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []
    tables = Tables()
    tables.rows = [row(1, 0), row(2, 0)]
    roots = [root_of(1), Root(6, 1, NO_SUCH_PID + 2, 7)]
    sampler = ProcessSampler(tables.read)
    monkeypatch.setattr(process_sampler, "read_pss_bytes", asked.append)

    for _ in range(4):
        sampler.sample(roots)

    assert sorted(asked) == [NO_SUCH_PID + 1] * 2 + [NO_SUCH_PID + 2] * 2


BUSY = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
start = time.process_time()
while time.process_time() - start < 0.05: pass
os.write(1, b'.')
time.sleep(1000)
"""


def test_a_real_tree_is_sampled_with_what_its_child_has_used() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", BUSY], stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    try:
        ready = process.stdout.read(2)
        facts = read_row(process.pid)
        assert facts is not None
        root = Root(5, 1, process.pid, facts.start_time)

        (sample,) = ProcessSampler().sample([root])

        assert ready == b".."
        assert sample.processes == 2
        assert sample.cpu_ns >= 100_000_000
        assert sample.rss_bytes > sample.pss_bytes > 1 << 20  # type: ignore[operator]
        assert sample.read_bytes is not None
    finally:
        for pid in [one.pid for one in ProcessTable.read().tree(process.pid, root.start_time)]:
            os.kill(pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
