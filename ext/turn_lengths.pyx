# cython: language_level=3, boundscheck=True, wraparound=False
# cython: initializedcheck=False, embedsignature=True
"""How long will this turn hold a slot? A fading mean of late turns like it, learned online.

Alike are turns of the same handler of the same class; where there were none, those of the class,
else all. Of a handler whose turns differ much the mean says little: then shortest-first orders its
turns among each other as they come, which costs nothing.

What it is not: the length predictor of LLM calls (kernel/policy/length_predictor.py), which knows
more of a call than there is to know of a message, and costs more than a turn may. Imports nothing
from this project.

Promises: the same turns in the same order give the same guesses. Memory is bounded: of more than
MAX_HANDLERS, classes included, those leave first that no turn has ended of for long.
Cost: one dictionary look-up a guess, none a lesson; in Python it was half of a decision
(bench/turn_policies.py).
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t

from ext.wire cimport Envelope

from collections import OrderedDict

FIRST_GUESS = 1_000.0            # tokens, before any turn has ended
MAX_HANDLERS = 10_000

cdef double FADE = 0.2           # weight of the latest turn
cdef enum:
    HAS_REFS = 1                 # flag of an envelope: a table of references comes first


cdef class Mean:
    """Of the turns of a handler, or of a class. tokens: 0 until one of them has ended.

    of_class: that of the handler's class; None: it is of a class itself.
    is_late: a turn has ended since it was last to leave.
    """

    cdef void add(self, int64_t tokens) noexcept:
        self.tokens = self.tokens + FADE * (tokens - self.tokens) if self.tokens else tokens
        self.is_late = True


cdef class TurnLengths:
    """See the module head.

    _means: by class and handler, b"" for all of the class; the one longest there first.
    """

    def __init__(self, Py_ssize_t max_handlers=MAX_HANDLERS):
        self._all, self._means, self._most = FIRST_GUESS, OrderedDict(), max_handlers

    def __len__(self):
        return len(self._means)

    cpdef Mean mean_of(self, str agent_class, bytes handler):
        """Return which turns one is like, to be asked for a guess and told how long it was."""
        key = (agent_class, handler)
        cdef Mean mean = self._means.get(key)
        if mean is None:
            mean = Mean.__new__(Mean)
            mean.is_late = True
            if handler:
                mean.of_class = self.mean_of(agent_class, b"")
            self._means[key] = mean
            if len(self._means) > self._most:
                self.forget_one()
        return mean

    cdef object forget_one(self):
        """Forget the mean that is longest here and not late; those before it are late no more."""
        cdef Mean mean
        while True:
            key, mean = self._means.popitem(last=False)
            if not mean.is_late:
                return
            mean.is_late = False
            self._means[key] = mean

    cpdef double guess(self, Mean mean):
        """Return how many tokens a turn like these will be given."""
        if not mean.tokens and mean.of_class is not None:
            mean = mean.of_class
        return mean.tokens or self._all

    cpdef object learn(self, Mean mean, int64_t tokens):
        """Take in how many tokens a turn like these was given in all, at least 1."""
        self._all += FADE * (tokens - self._all)
        mean.add(tokens)
        if mean.of_class is not None:
            mean.of_class.add(tokens)


cpdef bytes handler_of(Envelope envelope):
    """Return the handler a message names, in UTF-8; b"" if its body does not say."""
    cdef bytes payload = envelope._payload
    cdef const uint8_t* body = <const uint8_t*>PyBytes_AS_STRING(payload)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(payload), start = 0, length
    # SAFETY: no byte is read at or beyond `size`.
    if envelope.flags & HAS_REFS and size >= 2:
        start = 2 + 8 * (body[0] | body[1] << 8)
    if size < start + 2 or body[start] not in (0x93, 0x94):
        return b""                # not [method, args, kwargs], nor with hints for a pool
    if 0xA0 <= body[start + 1] <= 0xBF:
        length, start = body[start + 1] & 0x1F, start + 2
    elif body[start + 1] == 0xD9 and size > start + 2:
        length, start = body[start + 2], start + 3
    else:
        return b""
    return PyBytes_FromStringAndSize(<const char*>body + start, min(length, size - start))
