# cython: language_level=3, boundscheck=True, wraparound=False
# cython: initializedcheck=False, embedsignature=True
"""Send and receive multipart messages on an open ZeroMQ socket, without pyzmq's detours.

It calls libzmq's C functions, whose addresses come from whoever made the socket
(ipc/port.py takes them from pyzmq's own library). Nothing here waits but ``wait``: all
other calls are non-blocking. It neither opens nor closes sockets.

Invariants:
  I1  a Port is used by one thread, and ``detach`` is called before its socket is closed.
  I2  a part above SMALL bytes is never copied when received: ``Part`` owns ZeroMQ's buffer.

Cost (bench/README.md, "port"): a message of two small parts is received in about 0.8 us
(pyzmq: 4.2), an empty look costs 0.3 us (5.1), ZMQ_EVENTS 0.3 us (2.4).
"""

from cpython.buffer cimport PyBuffer_FillInfo, PyObject_GetBuffer, PyBuffer_Release, PyBUF_SIMPLE
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.errno cimport EAGAIN, EINTR

from libc.stdint cimport int64_t, uint64_t
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from ext.wire cimport unpack_parts

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd* items, unsigned long count, int timeout_ms)
    enum:
        _READABLE "POLLIN"

cdef enum:
    _DONTWAIT = 1
    _SNDMORE = 2
    _EVENTS = 15
    _FD = 14
    _SMALL = 65536
    _MSG_SIZE = 64

SMALL = _SMALL

ctypedef int (*init_function)(void* msg) nogil
ctypedef int (*recv_function)(void* msg, void* socket, int flags) nogil
ctypedef size_t (*size_function)(const void* msg) nogil
ctypedef void* (*data_function)(void* msg) nogil
ctypedef int (*more_function)(const void* msg) nogil
ctypedef int (*send_function)(void* socket, const void* buf, size_t length, int flags) nogil
ctypedef int (*option_function)(void* socket, int option, void* value, size_t* length) nogil
ctypedef int (*errno_function)() nogil

cdef init_function msg_init = NULL
cdef init_function msg_close = NULL
cdef recv_function msg_recv = NULL
cdef size_function msg_size = NULL
cdef data_function msg_data = NULL
cdef more_function msg_more = NULL
cdef send_function zmq_send = NULL
cdef option_function zmq_getsockopt = NULL
cdef errno_function zmq_errno = NULL

NAMES = (
    "zmq_msg_init", "zmq_msg_close", "zmq_msg_recv", "zmq_msg_size", "zmq_msg_data",
    "zmq_msg_more", "zmq_send", "zmq_getsockopt", "zmq_errno",
)


def bind(dict addresses not None):
    """Take the addresses of libzmq's functions, by name (``NAMES``); KeyError if one lacks."""
    global msg_init, msg_close, msg_recv, msg_size, msg_data, msg_more
    global zmq_send, zmq_getsockopt, zmq_errno
    cdef dict found = {name: addresses[name] for name in NAMES}
    # SAFETY: the caller vouches for the addresses; they come from dlsym under these names.
    msg_init = <init_function><size_t>found["zmq_msg_init"]
    msg_close = <init_function><size_t>found["zmq_msg_close"]
    msg_recv = <recv_function><size_t>found["zmq_msg_recv"]
    msg_size = <size_function><size_t>found["zmq_msg_size"]
    msg_data = <data_function><size_t>found["zmq_msg_data"]
    msg_more = <more_function><size_t>found["zmq_msg_more"]
    zmq_send = <send_function><size_t>found["zmq_send"]
    zmq_getsockopt = <option_function><size_t>found["zmq_getsockopt"]
    zmq_errno = <errno_function><size_t>found["zmq_errno"]


cdef int64_t _now_ms() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * 1000 + now.tv_nsec // 1000000


cdef class Part:
    """A received part that was not copied; a read-only buffer."""

    cdef char msg[_MSG_SIZE]
    cdef bint is_open

    def __cinit__(self):
        self.is_open = False

    def __dealloc__(self):
        if self.is_open:
            msg_close(<void*>self.msg)

    def __len__(self):
        return msg_size(<void*>self.msg)

    def __getbuffer__(self, Py_buffer* buffer, int flags):
        # SAFETY: the message lives as long as this object, and the buffer holds a reference.
        PyBuffer_FillInfo(
            buffer, self, msg_data(<void*>self.msg), <Py_ssize_t>msg_size(<void*>self.msg), 1, flags
        )


cdef class Port:
    """Non-blocking access to one socket.

    socket: the address of a libzmq socket (pyzmq: ``Socket.underlying``).
    """

    cdef void* socket
    cdef int descriptor

    def __init__(self, size_t socket):
        if msg_recv == NULL:
            raise RuntimeError("ext.zmq_port.bind has not been called")
        self.socket = <void*>socket
        self.descriptor = self._option(_FD)

    def detach(self):
        """Forget the socket: from here on there is nothing to receive and nothing is sent."""
        self.socket = NULL

    def events(self):
        """Return ZMQ_EVENTS: 1 = something to receive, 2 = room to send."""
        return 0 if self.socket == NULL else self._option(_EVENTS)

    cdef int _option(self, int option) noexcept:
        cdef int value = 0
        cdef size_t length = sizeof(int)
        zmq_getsockopt(self.socket, option, &value, &length)
        return value

    def wait(self, int descriptor, int timeout_ms):
        """Wait for something to receive, or for another descriptor to become readable.

        timeout_ms: -1 for ever. Returns 1 (socket) | 2 (descriptor); 0 when the time is over
        or a signal came. The socket's descriptor tells of news, not of a state, so the state is
        asked before and after.
        """
        cdef pollfd items[2]
        cdef int64_t end_ms = _now_ms() + timeout_ms
        cdef int ready = 1
        cdef int found
        if self.socket == NULL:
            return 0
        found = 1 if self._option(_EVENTS) & 1 else 0
        items[0].fd = self.descriptor
        items[1].fd = descriptor
        items[0].events = items[1].events = _READABLE
        if found:
            timeout_ms = 0
        while True:
            # SAFETY: two initialised pollfds on the stack; no Python object is touched.
            with nogil:
                ready = poll(items, 2, timeout_ms)
            if ready > 0 and items[1].revents:
                found |= 2
            if not found & 1 and self._option(_EVENTS) & 1:
                found |= 1
            if found or ready <= 0:
                return found
            if timeout_ms >= 0:  # news, but not of a message: a connection, say
                timeout_ms = <int>max(0, end_ms - _now_ms())

    def receive(self):
        """Return the parts of one message (bytes, or Part if large), or None if none waits.

        Raises OSError for anything but "nothing there".
        """
        return self._receive()

    def take(self, uint64_t max_payload):
        """Take one message of a ROUTER, a batch of envelopes; None if none waits.

        Returns (route, status, envelopes, bytes): the last three as ``ext.wire.unpack_parts`` says, and
        how long the parts after the route are. Raises as ``receive`` does.
        """
        cdef list parts = self._receive()
        cdef Py_ssize_t size = 0
        if parts is None:
            return None
        route = bytes(parts.pop(0))
        for part in parts:
            size += len(part)
        status, envelopes = unpack_parts(parts, max_payload)
        return route, status, envelopes, size

    cdef list _receive(self):
        cdef list parts = None
        cdef char msg[_MSG_SIZE]
        cdef int more = 1
        cdef Part large
        cdef size_t size
        cdef int error
        if self.socket == NULL:
            return None
        while more:
            msg_init(<void*>msg)
            while msg_recv(<void*>msg, self.socket, _DONTWAIT) < 0:
                error = zmq_errno()
                if error == EAGAIN and parts is None:
                    return None
                if error != EINTR:  # libzmq hands messages over whole: never EAGAIN here
                    raise OSError(error, "zmq_msg_recv")
            more = msg_more(<void*>msg)
            size = msg_size(<void*>msg)
            if parts is None:
                parts = []
            if size <= _SMALL:
                # SAFETY: size bytes at msg_data belong to the message until msg_close.
                parts.append(PyBytes_FromStringAndSize(<char*>msg_data(<void*>msg), <Py_ssize_t>size))
                msg_close(<void*>msg)
            else:
                # SAFETY: a zmq_msg_t may be moved as bytes as long as only the copy is closed.
                large = Part.__new__(Part)
                large.msg = msg
                large.is_open = True
                parts.append(large)
        return parts

    def send(self, first, rest=None):
        """Send one message; return 0, or the errno if nothing of it was taken.

        first: a bytes-like part. rest: further parts, or None. Each is copied.
        Raises TypeError or BufferError for a part that is no buffer, nothing sent; OSError if a
        later part is refused (libzmq takes messages whole).
        """
        cdef int error
        cdef Py_buffer view
        if self.socket == NULL:
            return EAGAIN
        if rest:
            for part in rest:  # before the first is sent: half a message would begin the next
                PyObject_GetBuffer(part, &view, PyBUF_SIMPLE)
                PyBuffer_Release(&view)
        error = self._send_part(first, _DONTWAIT if not rest else _DONTWAIT | _SNDMORE)
        if error:
            return error
        if rest:
            self._send_rest(rest)
        return 0

    cdef int _send_part(self, part, int flags) except -1:
        cdef Py_buffer view
        cdef int result
        PyObject_GetBuffer(part, &view, PyBUF_SIMPLE)
        # SAFETY: view.len bytes at view.buf stay until the release; zmq_send copies them.
        result = zmq_send(self.socket, view.buf, <size_t>view.len, flags)
        PyBuffer_Release(&view)
        return 0 if result >= 0 else zmq_errno()

    cdef int _send_rest(self, parts) except -1:
        cdef Py_ssize_t last = len(parts) - 1
        cdef Py_ssize_t i
        cdef int error
        for i in range(last + 1):
            error = self._send_part(parts[i], _DONTWAIT if i == last else _DONTWAIT | _SNDMORE)
            if error:
                raise OSError(error, "zmq_send")
        return 0
