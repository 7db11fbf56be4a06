"""ipc/arrays.py: arrays and tensors come back equal, without a copy, and read-only."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ipc.errors import NotEncodableError
from ipc.extensions import Code
from ipc.payload import decode, encode, encode_plain

dtypes = (
    hnp.boolean_dtypes()
    | hnp.integer_dtypes(endianness="?")
    | hnp.unsigned_integer_dtypes(endianness="?")
    | hnp.floating_dtypes(endianness="?")
    | hnp.complex_number_dtypes(endianness="?")
    | hnp.datetime64_dtypes()
    | hnp.timedelta64_dtypes()
    | hnp.byte_string_dtypes(max_len=5)
    | hnp.unicode_string_dtypes(max_len=5)
)
arrays = hnp.arrays(dtypes, hnp.array_shapes(min_dims=0, min_side=0, max_side=5))


def roundtrip(value: Any) -> Any:
    body = encode(value)
    return decode(body.data, body.attachments)


@given(arrays, st.booleans(), st.booleans())
def test_an_array_arrives_as_it_was_sent(array: Any, transpose: bool, strided: bool) -> None:
    array = array.T if transpose else array
    array = array[::2] if strided and array.ndim else array

    back = roundtrip(array)

    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    assert back.tobytes() == array.tobytes()
    assert not back.flags.writeable


@given(arrays.filter(lambda array: array.size))
def test_a_scalar_arrives_as_it_was_sent(array: Any) -> None:
    scalar = array.flat[0]
    back = roundtrip([scalar])[0]

    if isinstance(scalar, float | complex | str | bytes) and not isinstance(back, np.generic):
        assert isinstance(scalar, type(back))  # numpy.float64 is a float, numpy.str_ a str
    else:
        assert type(back) is type(scalar)
    assert (
        np.asarray(back, dtype=array.dtype).tobytes()
        == np.asarray(scalar, dtype=array.dtype).tobytes()
    )


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_large_array_is_sent_and_received_without_a_copy(order: Any) -> None:
    array = np.arange(3000, dtype="<f8").reshape(30, 100).copy(order=order)

    body = encode(["m", [array], {}])
    back = decode(body.data, body.attachments)[1][0]

    assert len(body.data) < 100
    assert np.shares_memory(back, array)
    assert back.flags[f"{order}_CONTIGUOUS"]
    with pytest.raises(ValueError, match="read-only"):
        back[0, 0] = 1


def test_a_read_only_or_mapped_array_is_sent(tmp_path: Any) -> None:
    array = np.arange(5000)
    array.flags.writeable = False
    np.save(tmp_path / "array.npy", array)
    mapped = np.load(tmp_path / "array.npy", mmap_mode="r")

    assert roundtrip(array).tolist() == array.tolist()
    assert roundtrip(mapped).tolist() == array.tolist()


def test_small_arrays_travel_inline() -> None:
    assert encode(np.zeros(512)).attachments == ()
    assert len(encode(np.zeros(513)).attachments) == 1


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (np.array([object()]), "objects"),
        (np.zeros(1, "i4,f4"), "column"),
        (np.zeros(1, [("x", "O")]), "objects"),
        (np.ma.masked_array([1, 2], [True, False]), "subclass"),
        (np.zeros(1, "i4,f4")[0], "column"),
    ],
)
def test_arrays_without_plain_bytes_are_refused(value: Any, hint: str) -> None:
    with pytest.raises(NotEncodableError, match=hint):
        encode([value])


def test_bfloat16_is_widened_where_torch_is_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    expected = np.array([1.0, -2.5, np.inf], "<f4")
    bits = (expected.view("<u4") >> 16).astype("<u2").tobytes()
    data = tensor_body(["bfloat16", [3], "C", bits])

    assert decode(data).tolist() == expected.tolist()


def tensor_body(fields: list[Any]) -> bytes:
    content = encode_plain(fields)
    return b"\xc7" + bytes([len(content), Code.TENSOR]) + content


_TENSORS = """
import numpy as np, torch
from ipc.errors import NotEncodableError
from ipc.payload import decode, encode

def roundtrip(value):
    body = encode(["m", [value], {}])
    return decode(body.data, body.attachments)[1][0], body

large = torch.arange(10_000, dtype=torch.float32).reshape(100, 100)
for tensor in (
    large, large.T, large[::2], torch.tensor(3), torch.zeros(0, 2), torch.tensor([True]),
    large.to(torch.bfloat16), large.to(torch.bfloat16).T, torch.ones(3, dtype=torch.bfloat16),
    (large / 100).to(torch.float8_e4m3fn), torch.tensor([1 + 2j]).conj(),
    large.clone().requires_grad_(),
    torch.nn.Parameter(large.clone()),
):
    back, body = roundtrip(tensor)
    assert (back.dtype, back.shape) == (tensor.dtype, tensor.shape)
    assert torch.equal(back.float() if back.dtype.itemsize == 1 else back,
                       tensor.detach().float() if back.dtype.itemsize == 1 else tensor.detach())
back, body = roundtrip(large)
assert np.shares_memory(np.frombuffer(body.attachments[0], "u1"), large.numpy())
back += 1
assert large[0, 0] == 0
if torch.cuda.is_available():
    assert torch.equal(roundtrip(large.cuda())[0], large)
for refused in (torch.eye(3).to_sparse(), torch.quantize_per_tensor(large, 1.0, 0, torch.qint8)):
    try:
        encode(refused)
    except NotEncodableError:
        continue
    raise AssertionError("not refused")
print("ok")
"""


@pytest.mark.slow
def test_tensors_arrive_as_they_were_sent() -> None:
    if importlib.util.find_spec("torch") is None:
        pytest.skip("no torch here")

    done = subprocess.run(
        [sys.executable, "-W", "ignore:torch.quantize", "-c", _TENSORS],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.stdout, done.stderr[-2000:]) == ("ok\n", "")
