# cython: language_level=3, boundscheck=True, wraparound=False
# cython: initializedcheck=False, embedsignature=True
"""Pack and parse frame headers, one call for a whole batch.

What it is not: it knows no protocol. Kinds and flags are numbers here; their
meaning is in ipc/protocol.py, the byte table in ipc/envelope.py. Malformed
input is a ParseStatus, never an exception: ipc/envelope.py turns a status into
an error class. Imports nothing from this project.

Cost: about 0.15 us an envelope to parse, 0.1 us to pack, plus one pass of XXH64
over each payload. Concurrency: no shared state. Little-endian hosts only,
checked at import. Source of the checksum: the XXH64 specification (Y. Collet).
"""

import sys

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memcpy, memset

MAGIC = 0x4F4C               # b"LO" read as a little-endian u16
VERSION = 1
HEADER_SIZE = sizeof(FrameHeader)

cdef enum:
    _MAGIC = 0x4F4C
    _VERSION = 1
    _MAX_PRIORITY = 7
    _HEADER = 128
    _NO_PARTS = 10           # a ParseStatus that only a message of parts can have
    _CHECKED = 124           # bytes of the header that its checksum covers

if sys.byteorder != "little" or HEADER_SIZE != _HEADER:
    raise ImportError(f"frame header is 128 little-endian bytes, got {HEADER_SIZE}")

cdef uint64_t P1 = 11400714785074694791U
cdef uint64_t P2 = 14029467366897019727U
cdef uint64_t P3 = 1609587929392839161U
cdef uint64_t P4 = 9650029242287828579U
cdef uint64_t P5 = 2870177450012600261U


cdef inline uint64_t _rotl(uint64_t x, int r) noexcept nogil:
    return (x << r) | (x >> (64 - r))


cdef inline uint64_t _read64(const uint8_t* p) noexcept nogil:
    cdef uint64_t value
    memcpy(&value, p, 8)
    return value


cdef inline uint32_t _read32(const uint8_t* p) noexcept nogil:
    cdef uint32_t value
    memcpy(&value, p, 4)
    return value


cdef inline uint64_t _round(uint64_t acc, uint64_t lane) noexcept nogil:
    return _rotl(acc + lane * P2, 31) * P1


cdef inline uint64_t _merge(uint64_t acc, uint64_t lane) noexcept nogil:
    return (acc ^ _round(0, lane)) * P1 + P4


cdef uint64_t xxh64(const uint8_t* data, size_t length) noexcept nogil:
    # SAFETY: every read is at p < data + length; p only grows to that end.
    cdef const uint8_t* p = data
    cdef const uint8_t* end = data + length
    cdef uint64_t a, b, c, d, h
    if length >= 32:
        a = P1 + P2
        b = P2
        c = 0
        d = 0 - P1
        while end - p >= 32:
            a = _round(a, _read64(p))
            b = _round(b, _read64(p + 8))
            c = _round(c, _read64(p + 16))
            d = _round(d, _read64(p + 24))
            p += 32
        h = _rotl(a, 1) + _rotl(b, 7) + _rotl(c, 12) + _rotl(d, 18)
        h = _merge(_merge(_merge(_merge(h, a), b), c), d)
    else:
        h = P5
    h += length
    while end - p >= 8:
        h = _rotl(h ^ _round(0, _read64(p)), 27) * P1 + P4
        p += 8
    if end - p >= 4:
        h = _rotl(h ^ (<uint64_t>_read32(p) * P1), 23) * P2 + P3
        p += 4
    while p < end:
        h = _rotl(h ^ (<uint64_t>p[0] * P5), 11) * P1
        p += 1
    h = (h ^ (h >> 33)) * P2
    h = (h ^ (h >> 29)) * P3
    return h ^ (h >> 32)


def checksum(const uint8_t[::1] buf not None):
    """Return the low 32 bits of XXH64(buf), seed 0; what headers carry."""
    if buf.shape[0] == 0:
        return <uint32_t>xxh64(NULL, 0)
    return <uint32_t>xxh64(&buf[0], <size_t>buf.shape[0])


def digest64(const uint8_t[::1] buf not None):
    """Return XXH64(buf), seed 0. Not cryptographic."""
    if buf.shape[0] == 0:
        return xxh64(NULL, 0)
    return xxh64(&buf[0], <size_t>buf.shape[0])


cdef class Envelope:
    """An addressed message and its routing data; fields as in ipc/envelope.py.

    payload: bytes, opaque here. attachments: tuple of C-contiguous buffers.
    payload_checksum: 0 until packed; a forwarded envelope keeps what it came
    with, so a payload is hashed once by its sender and once by each reader.
    Giving it another payload sets it back to 0.
    """

    def __init__(
        self,
        uint8_t kind,
        uint64_t sender=0,
        uint64_t receiver=0,
        bytes payload not None=b"",
        *,
        uint64_t message=0,
        uint64_t turn=0,
        uint64_t correlation=0,
        uint64_t deadline=0,
        uint32_t index=0,
        uint16_t flags=0,
        uint8_t priority=4,
        bytes trace not None=b"",
        bytes digest not None=b"",
        tuple attachments not None=(),
        uint64_t sequence=0,
        uint64_t acknowledged=0,
    ):
        self.kind = kind
        self.sender = sender
        self.receiver = receiver
        self._payload = payload
        self.message = message
        self.turn = turn
        self.correlation = correlation
        self.deadline = deadline
        self.index = index
        self.flags = flags
        self.priority = priority
        self.trace = trace
        self.digest = digest
        self._attachments = attachments
        self.sequence = sequence
        self.acknowledged = acknowledged
        self.payload_checksum = 0

    def copy(self):
        """Return a new envelope with the same fields; payload and attachments are shared."""
        cdef Envelope twin = Envelope.__new__(Envelope)
        twin.kind = self.kind
        twin.priority = self.priority
        twin.flags = self.flags
        twin.sender = self.sender
        twin.receiver = self.receiver
        twin.sequence = self.sequence
        twin.acknowledged = self.acknowledged
        twin.message = self.message
        twin.turn = self.turn
        twin.correlation = self.correlation
        twin.deadline = self.deadline
        twin.trace = self.trace
        twin.digest = self.digest
        twin.index = self.index
        twin.payload_checksum = self.payload_checksum
        twin._payload = self._payload
        twin._attachments = self._attachments
        return twin

    # Properties, so that neither can become None behind the macros that read their length.
    @property
    def payload(self):
        return self._payload

    @payload.setter
    def payload(self, bytes value not None):
        self._payload = value
        self.payload_checksum = 0

    @property
    def attachments(self):
        return self._attachments

    @attachments.setter
    def attachments(self, tuple value not None):
        self._attachments = value

    @property
    def size(self):
        """Bytes this envelope accounts for: header, payload and attachments."""
        return size_of(self)

    def _fields(self):
        return (
            self.kind, self.priority, self.flags, self.sender, self.receiver, self.sequence,
            self.acknowledged, self.message, self.turn, self.correlation, self.deadline,
            self.trace, self.digest, self.index, self._payload,
            tuple(bytes(part) for part in self._attachments),
        )

    def __eq__(self, other):
        return isinstance(other, Envelope) and self._fields() == other._fields()

    __hash__ = None

    def __repr__(self):
        return (
            f"Envelope(kind={self.kind}, sender={self.sender}, receiver={self.receiver}, "
            f"sequence={self.sequence}, message={self.message}, turn={self.turn}, "
            f"correlation={self.correlation}, payload={len(self._payload)} B, "
            f"attachments={len(self._attachments)})"
        )


cdef Py_ssize_t attachments_bytes(tuple attachments) except -1:
    cdef Py_ssize_t total = 0
    for part in attachments:
        total += memoryview(part).nbytes
    return total


cdef Py_ssize_t size_of(Envelope e) except -1:
    cdef Py_ssize_t total = _HEADER + PyBytes_GET_SIZE(e._payload)
    if e._attachments:
        total += attachments_bytes(e._attachments)
    return total


cdef int _store16(uint8_t* target, bytes value) except -1:
    cdef Py_ssize_t length
    if value is None:
        raise ValueError("a trace or digest is bytes; none is b\"\"")
    length = PyBytes_GET_SIZE(value)
    if length == 16:
        memcpy(target, PyBytes_AS_STRING(value), 16)
    elif length != 0:
        raise ValueError(f"a trace or digest has 16 bytes or none, not {length}")
    return 0


cdef inline bytes _load16(const uint8_t* source):
    if _read64(source) == 0 and _read64(source + 8) == 0:
        return b""
    return PyBytes_FromStringAndSize(<const char*>source, 16)


cdef int _fill(FrameHeader* h, Envelope e) except -1:
    cdef Py_ssize_t payload_len = PyBytes_GET_SIZE(e._payload)
    memset(h, 0, _HEADER)
    if payload_len > <Py_ssize_t>0xFFFFFFFF:
        raise ValueError("a payload has at most 2**32 - 1 bytes")
    if len(e._attachments) > 255:
        raise ValueError("an envelope has at most 255 attachments")
    if e.priority > _MAX_PRIORITY:
        raise ValueError(f"a priority is 0 to 7, not {e.priority}")
    h.magic = _MAGIC
    h.version = _VERSION
    h.kind = e.kind
    h.flags = e.flags
    h.priority = e.priority
    h.num_attachments = <uint8_t>len(e._attachments)
    h.sender = e.sender
    h.receiver = e.receiver
    h.sequence = e.sequence
    h.acknowledged = e.acknowledged
    h.message = e.message
    h.turn = e.turn
    h.correlation = e.correlation
    h.deadline = e.deadline
    _store16(h.trace, e.trace)
    _store16(h.digest, e.digest)
    h.index = e.index
    h.payload_len = <uint32_t>payload_len
    if h.num_attachments:
        h.attachments_len = <uint64_t>attachments_bytes(e._attachments)
    if e.payload_checksum == 0:
        e.payload_checksum = <uint32_t>xxh64(
            <const uint8_t*>PyBytes_AS_STRING(e._payload), <size_t>payload_len
        )
    h.payload_checksum = e.payload_checksum
    h.header_checksum = <uint32_t>xxh64(<const uint8_t*>h, _CHECKED)
    return 0


def pack(list envelopes not None):
    """Return the bytes that carry the batch: header, payload, header, payload ...

    Attachments are not copied: the caller sends them as further parts, in order.
    Raises ValueError for a field that the header cannot hold.
    """
    cdef Py_ssize_t count = len(envelopes)
    cdef Py_ssize_t total = count * _HEADER
    cdef Py_ssize_t i, length
    cdef Envelope e
    cdef bytes batch
    cdef char* place
    for i in range(count):
        e = <Envelope?>envelopes[i]
        total += PyBytes_GET_SIZE(e._payload)
    batch = PyBytes_FromStringAndSize(NULL, total)
    place = PyBytes_AS_STRING(batch)
    for i in range(count):
        e = <Envelope>envelopes[i]
        # SAFETY: the lengths were added up to ``total`` above; nothing here runs Python code
        # that could change the list or a payload (attachments are buffers, only measured).
        _fill(<FrameHeader*>place, e)
        place += _HEADER
        length = PyBytes_GET_SIZE(e._payload)
        memcpy(place, PyBytes_AS_STRING(e._payload), length)
        place += length
    return batch


def pack_parts(list envelopes not None):
    """Return the parts of one message: what ``pack`` gives, then the attachments, not copied."""
    cdef list parts = [pack(envelopes)]
    cdef Envelope e
    for e in envelopes:
        if e._attachments:
            parts.extend(e._attachments)
    return parts


cdef int _check(const FrameHeader* h, uint64_t max_payload) noexcept nogil:
    if h.magic != _MAGIC:
        return PARSE_BAD_MAGIC
    if h.version != _VERSION:
        return PARSE_BAD_VERSION
    if h.header_checksum != <uint32_t>xxh64(<const uint8_t*>h, _CHECKED):
        return PARSE_BAD_HEADER_CHECKSUM
    if h.priority > _MAX_PRIORITY:
        return PARSE_BAD_FIELD
    if h.payload_len > max_payload:
        return PARSE_TOO_LONG
    return PARSE_OK


cdef Envelope _load(const FrameHeader* h, bytes payload):
    cdef Envelope e = Envelope.__new__(Envelope)
    e.kind = h.kind
    e.flags = h.flags
    e.priority = h.priority
    e.sender = h.sender
    e.receiver = h.receiver
    e.sequence = h.sequence
    e.acknowledged = h.acknowledged
    e.message = h.message
    e.turn = h.turn
    e.correlation = h.correlation
    e.deadline = h.deadline
    e.trace = _load16(h.trace)
    e.digest = _load16(h.digest)
    e.index = h.index
    e.payload_checksum = h.payload_checksum
    e._payload = payload
    e._attachments = ()
    return e


cpdef tuple unpack(bytes batch, list attachments, uint64_t max_payload):
    """Return ``(status, envelopes)``; the list is empty unless status is 0.

    batch: as ``pack`` makes it. attachments: the remaining parts, taken by the envelopes in order.
    """
    cdef Py_ssize_t length, offset = 0
    cdef Py_ssize_t part = 0
    cdef FrameHeader h
    cdef int status
    cdef Envelope e
    cdef list result = []
    cdef const char* start
    if batch is None or attachments is None:
        raise TypeError("a batch is bytes, with a list of attachments")
    length = PyBytes_GET_SIZE(batch)
    start = PyBytes_AS_STRING(batch)
    if length == 0:
        return PARSE_BAD_LENGTH, []
    while offset < length:
        if length - offset < _HEADER:
            return PARSE_BAD_LENGTH, []
        # SAFETY: 128 bytes at ``offset`` lie inside ``batch``, checked above.
        memcpy(&h, start + offset, _HEADER)
        offset += _HEADER
        status = _check(&h, max_payload)
        if status != PARSE_OK:
            return status, []
        if <Py_ssize_t>h.payload_len > length - offset:
            return PARSE_PAYLOAD_MISMATCH, []
        # SAFETY: payload_len bytes at ``offset`` lie inside ``batch``, checked above.
        if h.payload_checksum != <uint32_t>xxh64(<const uint8_t*>start + offset, h.payload_len):
            return PARSE_BAD_PAYLOAD_CHECKSUM, []
        e = _load(&h, PyBytes_FromStringAndSize(start + offset, h.payload_len))
        offset += h.payload_len
        if h.num_attachments:
            if part + h.num_attachments > len(attachments):
                return PARSE_ATTACHMENT_MISMATCH, []
            e._attachments = tuple(attachments[part:part + h.num_attachments])
            part += h.num_attachments
            if <uint64_t>attachments_bytes(e._attachments) != h.attachments_len:
                return PARSE_ATTACHMENT_MISMATCH, []
        elif h.attachments_len != 0:
            return PARSE_ATTACHMENT_MISMATCH, []
        result.append(e)
    if part != len(attachments):
        return PARSE_ATTACHMENT_MISMATCH, []
    return PARSE_OK, result


cpdef tuple unpack_parts(parts, uint64_t max_payload):
    """Return ``(status, envelopes)`` of one message's parts, a sequence of buffers; see ``unpack``."""
    if not parts:
        return _NO_PARTS, []
    first = parts[0]
    batch = first if type(first) is bytes else bytes(first)
    return unpack(batch, list(parts[1:]), max_payload)
