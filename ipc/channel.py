"""Numbering of envelopes between two ends: no gap, no repeat, no loss.

Sans-I/O: the owner moves the bytes. Both ends of a link use this one class.

Invariants (tests/ipc/test_channel.py checks them after every step):
  I1  numbers sent are 1, 2, 3 ... without gaps; an envelope keeps its number when resent.
  I2  ``receive`` lets through exactly the next number; repeats and gaps give None.
  I3  what is not covered by the other end's mark is kept, in order, for resending.
  I4  the other end is only told ``covered``, never ``taken``; an end that journals what it
      takes says ``cover`` when the journal has it (the kernel), else at once (``take``: an agent).

What it is not: the code, which is ext/channel.pyx.
Cost: O(1) a message. Bounded: ``has_room`` is False at the window; the owner must wait.
"""

from __future__ import annotations

from ext.channel import Channel

__all__ = ["Channel"]
