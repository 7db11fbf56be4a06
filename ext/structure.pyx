# cython: language_level=3, boundscheck=True, wraparound=False
# cython: initializedcheck=False, embedsignature=True
"""Walk the bones of one msgpack value without building anything.

Why: msgpack's unpacker makes a list as long as an array's header claims before it has seen
one element, so that a few bytes, nested, ask for gigabytes. ``check`` adds up the claims
first: after PARSE_OK no more elements are announced than there are bytes.

What it is not: a check of text (UTF-8), of keys or of what an extension holds; the unpacker
and ipc/payload.py do that. Imports nothing from this project.

Cost: about 2 ns an element, nothing per byte of strings. Concurrency: no shared state.
Source: the MessagePack specification, formats overview.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t, uint64_t

MAX_DEPTH = 512              # levels; ipc/encoder.py writes no more

cdef enum:
    _MAX_DEPTH = 512
    _SHORT = 4096            # bytes; below, giving up the GIL costs more than the walk

cdef enum WalkStatus:
    WALK_OK = 0
    WALK_TRUNCATED = 1       # fewer bytes than the headers announce
    WALK_TRAILING = 2        # bytes after the value
    WALK_TOO_DEEP = 3
    WALK_BAD_BYTE = 4        # 0xc1, which the specification never uses


cdef inline uint64_t _number(const uint8_t* p, int width) noexcept nogil:
    """Return the big-endian unsigned number of ``width`` bytes at ``p``."""
    cdef uint64_t value = 0
    cdef int i
    for i in range(width):
        value = value << 8 | p[i]
    return value


cdef inline int _classify(uint8_t b, int* width, uint64_t* length, int* per_item) noexcept nogil:
    """Tell the shape of an object by its first byte; False for 0xc1.

    width: bytes of a length field that follows (0: ``length`` is known). length: bytes to
    skip, or elements. per_item: 0 for bytes, 1 for an array, 2 for a map.
    """
    width[0] = 0
    length[0] = 0
    per_item[0] = 0
    if b <= 0x7F or b >= 0xE0 or b == 0xC0 or b == 0xC2 or b == 0xC3:
        return True
    if b <= 0x8F:
        length[0] = b & 0x0F
        per_item[0] = 2
    elif b <= 0x9F:
        length[0] = b & 0x0F
        per_item[0] = 1
    elif b <= 0xBF:
        length[0] = b & 0x1F
    elif b == 0xC1:
        return False
    elif b <= 0xC6:                      # bin 8, 16, 32
        width[0] = 1 << (b - 0xC4)
    elif b <= 0xC9:                      # ext 8, 16, 32
        width[0] = 1 << (b - 0xC7)
        length[0] = 1                    # its type byte
    elif b <= 0xCB:                      # float 32, 64
        length[0] = 4 << (b - 0xCA)
    elif b <= 0xCF:                      # uint 8 .. 64
        length[0] = 1 << (b - 0xCC)
    elif b <= 0xD3:                      # int 8 .. 64
        length[0] = 1 << (b - 0xD0)
    elif b <= 0xD8:                      # fixext 1 .. 16, with its type byte
        length[0] = (1 << (b - 0xD4)) + 1
    elif b <= 0xDB:                      # str 8, 16, 32
        width[0] = 1 << (b - 0xD9)
    elif b <= 0xDD:                      # array 16, 32
        width[0] = 2 << (b - 0xDC)
        per_item[0] = 1
    else:                                # map 16, 32
        width[0] = 2 << (b - 0xDE)
        per_item[0] = 2
    return True


cdef int _walk(const uint8_t* p, uint64_t left, int max_depth) noexcept nogil:
    # SAFETY: p moves only together with ``left``, the bytes from p to the end, and only
    # after ``left`` was seen to be enough. depth < max_depth <= _MAX_DEPTH guards ``open_items``.
    cdef uint32_t open_items[_MAX_DEPTH]   # elements still to come, per open container
    cdef uint64_t announced = 1            # elements still to come, all containers together
    cdef uint64_t length = 0
    cdef int depth = 0
    cdef int width = 0
    cdef int per_item = 0
    while announced:
        if left == 0:
            return WALK_TRUNCATED
        if not _classify(p[0], &width, &length, &per_item):
            return WALK_BAD_BYTE
        p += 1
        left -= 1
        announced -= 1
        if left < <uint64_t>width:
            return WALK_TRUNCATED
        length += _number(p, width)
        p += width
        left -= width
        if per_item == 0:
            if left < length:
                return WALK_TRUNCATED
            p += length
            left -= length
            length = 0
        length *= <uint64_t>per_item
        if announced + length > left:
            return WALK_TRUNCATED
        announced += length
        if depth:
            open_items[depth - 1] -= 1
        # A container counts towards the depth even when empty, as in msgpack's own stack.
        if per_item and depth >= max_depth:
            return WALK_TOO_DEEP
        if length:
            open_items[depth] = <uint32_t>length
            depth += 1
        while depth and open_items[depth - 1] == 0:
            depth -= 1
    return WALK_OK if left == 0 else WALK_TRAILING


def check(bytes data not None, int max_depth=MAX_DEPTH):
    """Return 0 if ``data`` is one whole msgpack value, else a WalkStatus.

    max_depth: containers that may lie inside each other, 0 to 512.
    Raises ValueError for more than 2**32 - 1 bytes or a depth out of range.
    """
    # bytes and no memoryview: taking the view would cost more than the walk.
    cdef uint64_t length = <uint64_t>PyBytes_GET_SIZE(data)
    cdef const uint8_t* start = <const uint8_t*>PyBytes_AS_STRING(data)
    cdef int status
    if length > 0xFFFFFFFF or max_depth > _MAX_DEPTH or max_depth < 0:
        raise ValueError("check takes up to 2**32 - 1 bytes and a depth of 0 to 512")
    if length < _SHORT:
        return _walk(start, length, max_depth)
    with nogil:
        status = _walk(start, length, max_depth)
    return status
