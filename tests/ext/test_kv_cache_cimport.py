"""The KV-cache allocator's .pxd, used as another Cython module would use it: without the GIL."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
USER = """
# cython: language_level=3
import numpy as np
from libc.stdint cimport int32_t, int64_t
from ext.kv_cache cimport KVCache
from ext.kv_core cimport OUT_OF_BLOCKS, REPEATED_REQUEST, STATUS_OK
from ext.kv_plan cimport PlanRow
from ext.kv_errors import RepeatedRequestError

def step(KVCache cache, int64_t first, int64_t second):
    cdef int64_t[2] requests = [first, second]
    cdef int32_t[2] tokens = [8, 8]
    cdef int32_t[2] sampled = [5, 6]
    cdef int32_t[2] cached
    cdef int32_t[2] computing
    cdef int64_t[2] twice
    cdef PlanRow[2] rows
    cdef PlanRow first_row
    cdef int planned, marked, appended, looked_up, repeated, refused, freed
    with nogil:
        planned = cache.plan_batch(requests, tokens, 2, rows)
        first_row = rows[0]
        looked_up = cache.look_up_batch(requests, 2, rows, cached, computing)
        marked = cache.mark_batch(requests, tokens, 2, rows)
        appended = cache.append_batch(requests, sampled, 2, rows)
        tokens = [50, 50]
        refused = cache.plan_batch(requests, tokens, 2, rows)
        twice[0] = twice[1] = first
        repeated = cache.plan_batch(twice, tokens, 2, rows)
        freed = cache.free_batch(requests, 2, rows, 0)
    assert (planned, looked_up, marked, appended, freed) == (STATUS_OK,) * 5
    assert (first_row.start, first_row.count, first_row.num_new) == (0, 8, 2)
    assert (cached[0], computing[0]) == (0, 8)
    assert (refused, repeated) == (OUT_OF_BLOCKS, REPEATED_REQUEST)
    try:
        cache.raise_refusal(repeated)
    except RepeatedRequestError as error:
        return error.index

cache = KVCache(block_size=4, num_device_blocks=4, hash_key=bytes(16))
owner = cache.add_owner()
requests = [cache.open(owner, np.arange(i, 8 + i, dtype=np.int32)) for i in range(2)]
assert step(cache, *requests) == 1
cache.check_integrity()
print("passed")
"""


@pytest.mark.slow
def test_another_cython_module_drives_the_allocator_without_the_gil(tmp_path: Path) -> None:
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

    assert result.stdout == "passed\n", result.stderr
