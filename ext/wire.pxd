# Frame header layout, shared with other extension modules by cimport.
# The byte-by-byte table is in ipc/envelope.py; this is its C mirror.

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef packed struct FrameHeader:
    uint16_t magic
    uint8_t version
    uint8_t kind
    uint16_t flags
    uint8_t priority          # 0 = most urgent .. 7
    uint8_t num_attachments   # multipart parts that belong to this envelope
    uint64_t sender
    uint64_t receiver
    uint64_t sequence         # per direction and incarnation, starts at 1; 0 = unnumbered
    uint64_t acknowledged     # highest sequence taken in the opposite direction
    uint64_t message          # message id, given by the kernel; 0 before acceptance
    uint64_t turn             # id of the message whose turn sent this; 0 outside turns
    uint64_t correlation      # the asker's number for a call; answers carry it back
    uint64_t deadline         # nanoseconds remaining when sent; 0 = none
    uint8_t trace[16]
    uint8_t digest[16]        # call digest; zero when this is no recorded call
    uint32_t index            # kind-specific count or number
    uint32_t payload_len      # bytes
    uint64_t attachments_len  # bytes, all parts together
    uint32_t payload_checksum
    uint32_t header_checksum  # over bytes [0, 124)

cdef enum ParseStatus:
    PARSE_OK = 0
    PARSE_BAD_LENGTH = 1      # empty, or the last header is cut short
    PARSE_BAD_MAGIC = 2
    PARSE_BAD_VERSION = 3
    PARSE_BAD_HEADER_CHECKSUM = 4
    PARSE_TOO_LONG = 5        # a payload above the caller's limit
    PARSE_PAYLOAD_MISMATCH = 6     # the last payload is cut short
    PARSE_BAD_PAYLOAD_CHECKSUM = 7
    PARSE_ATTACHMENT_MISMATCH = 8  # attachment parts or bytes do not add up
    PARSE_BAD_FIELD = 9       # a priority above 7

# XXH64 of ``length`` bytes at ``data``, seed 0 (the published algorithm).
cdef uint64_t xxh64(const uint8_t* data, size_t length) noexcept nogil

# (ParseStatus, envelopes) of a batch; see wire.pyx.
cpdef tuple unpack(bytes batch, list attachments, uint64_t max_payload)
cpdef tuple unpack_parts(parts, uint64_t max_payload)

# Fields as in ipc/envelope.py. Nothing but bytes is ever in _payload, and a tuple in _attachments.
cdef class Envelope:
    cdef public uint8_t kind
    cdef public uint8_t priority
    cdef public uint16_t flags
    cdef public uint64_t sender
    cdef public uint64_t receiver
    cdef public uint64_t sequence
    cdef public uint64_t acknowledged
    cdef public uint64_t message
    cdef public uint64_t turn
    cdef public uint64_t correlation
    cdef public uint64_t deadline
    cdef public bytes trace
    cdef public bytes digest
    cdef public uint32_t index
    cdef public uint32_t payload_checksum
    cdef bytes _payload
    cdef tuple _attachments

# Bytes an envelope accounts for: header, payload and attachments.
cdef Py_ssize_t size_of(Envelope e) except -1
