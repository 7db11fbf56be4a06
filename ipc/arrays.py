"""numpy arrays and torch tensors as a description and a buffer, without a copy.

What it is not: the extension around them (ipc/payload.py). Imports neither numpy nor torch
until a value needs them: a process that never sends an array does not pay for them.

Invariants:
  I1  what leaves is C-contiguous memory of the caller's array (copied only if it was strided).
  I2  what arrives is checked before numpy sees it: a plain dtype from a fixed grammar (never
      objects, never structures), a shape that fits the buffer exactly. Arrays are read-only.

Cost: about 3 us an array, independent of its size.
"""

from __future__ import annotations

import math
import re
import sys
from typing import Any, NamedTuple

from typing_extensions import Buffer

_DTYPE = re.compile(
    r"[<>|][biufcSUVmM][0-9]{1,9}(\[[0-9]{0,6}(Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\])?"
)
_MAX_DIMENSIONS = 32
# Types that torch has and numpy lacks travel as integers of the same width.
_TORCH_ONLY = {"bfloat16": "int16", "float8_e4m3fn": "uint8", "float8_e5m2": "uint8"}


class Exported(NamedTuple):
    """An array taken apart. data: its memory as unsigned bytes."""

    dtype: str
    shape: tuple[int, ...]
    order: str  # "C" or "F"
    data: memoryview


def byte_view(buffer: Buffer) -> memoryview:
    """Return a contiguous buffer's memory as unsigned bytes.

    Raises TypeError if it is not C-contiguous.
    """
    view = memoryview(buffer)
    if view.nbytes == 0:
        return memoryview(b"")
    return view if view.format == "B" and view.ndim == 1 else view.cast("B")


def is_array(value: Any) -> bool:
    """Say whether the value is a numpy array that can be exported whole."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and type(value) in (numpy.ndarray, numpy.memmap)


def is_scalar(value: Any) -> bool:
    """Say whether the value is a numpy scalar (numpy.float64 is a float: never asked)."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.generic)


def is_tensor(value: Any) -> bool:
    """Say whether the value is a torch tensor."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def export_array(array: Any) -> Exported:
    """Take a numpy array apart.

    Raises ValueError for a dtype that has no plain bytes.
    """
    import numpy as np  # heavy, and loaded by whoever made the array

    dtype = _plain_name(array.dtype)
    order = "C"
    flat = array
    if array.flags.f_contiguous and not array.flags.c_contiguous:
        order, flat = "F", array.T
    elif not array.flags.c_contiguous:
        flat = np.ascontiguousarray(array)
    # Through uint8: dates have no buffer format of their own.
    data = flat.reshape(-1).view(np.uint8).data if flat.nbytes else memoryview(b"")
    return Exported(dtype, array.shape, order, data)


def _plain_name(dtype: Any) -> str:
    import numpy as np  # loaded by whoever made the array

    text = str(dtype.str)
    if dtype.hasobject:
        raise ValueError("an array of Python objects has no bytes of its own: send a list")
    if dtype.fields is not None:
        raise ValueError("structured arrays are not sent: send one array per column")
    if not _DTYPE.fullmatch(text) or dtype.itemsize == 0 or np.dtype(text) != dtype:
        raise ValueError(f"numpy cannot name the dtype {dtype}: convert with astype() first")
    return text


def export_tensor(tensor: Any) -> Exported:
    """Take a torch tensor apart; one on a device is copied to the host, gradients stay behind.

    Raises ValueError for a tensor without a dense layout.
    """
    torch = sys.modules["torch"]
    if tensor.layout != torch.strided or tensor.is_quantized:
        raise ValueError("only dense tensors are sent: call to_dense() or dequantize() first")
    host = tensor.detach().cpu().resolve_conj().resolve_neg()
    name = str(host.dtype).removeprefix("torch.")
    if name not in _TORCH_ONLY:
        return export_array(host.numpy())
    array = host.contiguous().view(getattr(torch, _TORCH_ONLY[name])).numpy()
    return export_array(array)._replace(dtype=name)


def restore_array(exported: Exported) -> Any:
    """Return the read-only array over ``data``; raises ValueError if the parts do not fit."""
    import numpy as np  # heavy; only for those who are sent arrays

    dtype = _checked_dtype(exported.dtype)
    _check_shape(exported, dtype.itemsize)
    array = np.ndarray(exported.shape, dtype, buffer=exported.data, order=_order(exported.order))
    array.flags.writeable = False
    return array


def restore_scalar(dtype: str, data: bytes) -> Any:
    """Return the numpy scalar; raises ValueError if the parts do not fit."""
    return restore_array(Exported(dtype, (), "C", memoryview(data)))[()]


def restore_tensor(exported: Exported) -> Any:
    """Return a tensor of its own memory, or an array where torch is not loaded."""
    stand_in = _TORCH_ONLY.get(exported.dtype)
    torch = sys.modules.get("torch")
    if stand_in is None:
        array = restore_array(exported)
        return array if torch is None else torch.from_numpy(_native_copy(array))
    integers = restore_array(exported._replace(dtype="<i2" if stand_in == "int16" else "|u1"))
    if torch is not None:
        return torch.from_numpy(_native_copy(integers)).view(getattr(torch, exported.dtype))
    if exported.dtype != "bfloat16":
        raise ValueError(f"a tensor of {exported.dtype} can be read only where torch is loaded")
    return _widened(integers)


def _native_copy(array: Any) -> Any:
    # torch has no read-only memory and no foreign byte order.
    return array.astype(array.dtype.newbyteorder("="), order="C", copy=True)


def _widened(bfloats: Any) -> Any:
    """Return bfloat16 bit patterns as float32: the same sign, exponent and upper mantissa."""
    import numpy as np  # loaded by restore_array already

    return (bfloats.view(np.uint16).astype(np.uint32) << 16).view(np.float32)


def _checked_dtype(text: Any) -> Any:
    import numpy as np  # loaded on first use only

    if not isinstance(text, str) or not _DTYPE.fullmatch(text):
        raise ValueError("not a plain dtype")
    dtype = np.dtype(text)
    if dtype.itemsize == 0 or dtype.hasobject or dtype.fields is not None:
        raise ValueError("not a plain dtype")
    return dtype


def _check_shape(exported: Exported, itemsize: int) -> None:
    shape = exported.shape
    if len(shape) > _MAX_DIMENSIONS:
        raise ValueError(f"an array has at most {_MAX_DIMENSIONS} dimensions")
    if not all(type(length) is int and length >= 0 for length in shape):
        raise ValueError("a shape is made of lengths")
    if math.prod(shape) * itemsize != exported.data.nbytes:
        raise ValueError("the shape does not fit the data")


def _order(order: Any) -> Any:
    if order not in ("C", "F"):
        raise ValueError("the order is C or F")
    return order
