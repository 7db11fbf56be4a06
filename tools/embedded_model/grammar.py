"""Templates, their expansion, and the rule that says which expansions training never sees.

A template is text with alternatives in brackets, ``[a|b]``, which may be nested, and slots in
braces, ``{order}``. Expansion happens in two steps, because the split is made between them:
``choose`` settles the alternatives (the result is a skeleton), ``fill`` puts the slots in.

Promises:
  I1  The same seed gives the same text on every machine: chance comes from ``random.Random`` and
      the split from CRC-32, never from ``hash``.
  I2  Whether something is held out depends on its own text only, not on when it was drawn.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from random import Random
from zlib import crc32

_ALTERNATIVES = re.compile(r"\[([^\[\]]*)\]")
_SLOT = re.compile(r"\{(\w+)\}")


def choose(template: str, random: Random) -> str:
    """Settle each alternative of a template, the innermost first."""
    while match := _ALTERNATIVES.search(template):
        chosen = random.choice(match[1].split("|"))
        template = template[: match.start()] + chosen + template[match.end() :]
    return template


def fill(skeleton: str, values: Mapping[str, str]) -> str:
    """Put a value into each slot; a slot without a value is a mistake of the grammar."""
    return _SLOT.sub(lambda match: values[match[1]], skeleton)


def slots(template: str) -> list[str]:
    """Return the names of the slots, in the order in which they stand."""
    return _SLOT.findall(template)


def is_held_out(kind: str, *parts: str, one_in: int = 10) -> bool:
    """Say whether this combination belongs to the held-out split, about one in ``one_in``."""
    return crc32("\x1f".join((kind, *parts)).encode()) % one_in == 0


def sentence(clause: str) -> str:
    """Return the clause with a capital letter at its start."""
    return clause[:1].upper() + clause[1:]
