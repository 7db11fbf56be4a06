"""A fast door to a pyzmq socket: ext.zmq_port bound to the libzmq that pyzmq itself uses.

pyzmq stays what opens, configures, monitors and closes sockets; only sending and receiving
take this way. Large attachments are still sent through pyzmq, which can lend a buffer to
libzmq's I/O thread without a copy.

Raises ImportError at import if the functions are not where pyzmq's library has them.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import zmq
from zmq.backend.cython import _zmq

from ext.zmq_port import NAMES, SMALL, Port, bind

__all__ = ["POLLIN", "SMALL", "Port", "open_port", "send_message"]

POLLIN = 1


def _addresses() -> dict[str, int]:
    # dlsym on pyzmq's extension looks into its dependencies too: a bundled or a system libzmq
    library = ctypes.CDLL(_zmq.__file__)
    try:
        found = {name: getattr(library, name) for name in NAMES}
    except AttributeError as error:
        raise ImportError(
            f"pyzmq {zmq.__version__} hides libzmq's functions ({error}); "
            "install its wheel: pip install --force-reinstall --only-binary pyzmq pyzmq"
        ) from None
    addresses = {name: ctypes.cast(found[name], ctypes.c_void_p).value for name in found}
    return {name: address for name, address in addresses.items() if address is not None}


bind(_addresses())


def open_port(socket: zmq.Socket[Any]) -> Port:
    """Return the door to an open socket; ``detach`` it before closing the socket."""
    return Port(socket.underlying)


def send_message(socket: zmq.Socket[Any], port: Port, parts: Sequence[Any]) -> int:
    """Send the parts of one message; return 0, or the errno if nothing of it was taken.

    Parts above SMALL bytes are lent to libzmq, not copied.
    """
    if len(parts) == 1:
        return port.send(parts[0])
    if all(memoryview(part).nbytes <= SMALL for part in parts):
        return port.send(parts[0], parts[1:])
    try:
        socket.send(parts[0], zmq.SNDMORE | zmq.NOBLOCK)
    except zmq.ZMQError as error:
        return int(error.errno or 0)
    last = len(parts) - 1
    for number, part in enumerate(parts[1:], start=1):
        flags = zmq.NOBLOCK if number == last else zmq.NOBLOCK | zmq.SNDMORE
        socket.send(part, flags, copy=memoryview(part).nbytes <= SMALL)
    return 0
