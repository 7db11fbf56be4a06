"""The ready queue's .pxd, used as another Cython module would use it: without the GIL."""

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
USER = """
# cython: language_level=3
from libc.stdint cimport int64_t, uint64_t
from ext.ready_queue cimport (
    QUEUE_BAD_LEVEL, QUEUE_EMPTY, QUEUE_NAN, QUEUE_OK, QUEUE_STALE,
    FloatReadyQueue, IntReadyQueue, QueueEntry, float_order, int_order, order_float, order_int,
)

def statuses(IntReadyQueue queue):
    cdef QueueEntry entry
    cdef uint64_t handle, order = 7
    cdef double nan = float("nan")
    cdef int empty, pushed, moved, level, stale, not_a_number
    with nogil:
        empty = queue.c_pop(&entry)
        pushed = queue.c_push(int_order(-5), 9, 0, &handle)
        moved = queue.c_move(handle, int_order(-6), 1)
        level = queue.c_push(0, 0, 2, &handle)
        queue.c_pop(&entry)
        stale = queue.c_update(entry.handle, 0)
        not_a_number = float_order(nan, &order)
    assert (empty, pushed, moved) == (QUEUE_EMPTY, QUEUE_OK, QUEUE_OK)
    assert (level, stale, not_a_number) == (QUEUE_BAD_LEVEL, QUEUE_STALE, QUEUE_NAN)
    assert (order_int(entry.order), entry.item, entry.level, order) == (-6, 9, 1, 7)

def round_trip(double key):
    cdef uint64_t order
    assert float_order(key, &order) == QUEUE_OK
    return order_float(order)

from ext.ready_queue import IntReadyQueue as Queue
statuses(Queue(levels=2))
assert [round_trip(key) for key in (-1.5, 0.0, 2e300)] == [-1.5, 0.0, 2e300]
print("passed")
"""


@pytest.mark.slow
def test_another_cython_module_uses_the_queue_without_the_gil(tmp_path: Path) -> None:
    source, module = tmp_path / "user.pyx", f"user{sysconfig.get_config_var('EXT_SUFFIX')}"
    source.write_text(USER)
    include = sysconfig.get_paths()["include"]

    for command in (
        [sys.executable, "-m", "cython", "-3", "-I", ROOT, source],
        ["gcc", "-shared", "-fPIC", "-I", include, "-o", tmp_path / module, tmp_path / "user.c"],
    ):
        subprocess.run(command, check=True, cwd=ROOT)
    script = f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(tmp_path)!r}]; import user"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)

    assert (result.stderr, result.stdout) == ("", "passed\n")
