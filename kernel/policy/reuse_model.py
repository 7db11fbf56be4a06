"""When will a program come back? Hazards of return by age and traits, learned online.

After each use of a program's blocks a record is open until the program's next use. The hazard, the
chance of return in the next second for one that has stayed away so long, is modelled as
    base[answer][age] x factor[turn] x factor[gap] x factor[size]
with traits known when the record opens (kernel/policy/reuse_traits.py). From it follows what a
cached block is worth: the best ratio, over all times to stop waiting, of the chance of return until
then to the time the block is held until then (a Gittins index, returns per second). For a block
whose hazard will rise it looks ahead to the rise.

A fit (kernel/policy/reuse_fit.py) begins each FIT_EVERY records, from decayed counts of returns and
of time at risk, records still open included; `work` takes it on by a slice, and until it ends the
values of the last one count.

Where little is known the hazard falls with age, and so does the value: with that alone the oldest
record is worth least, as under LRU.

Cost: O(ages) a record; a slice of a fit; `value` is a table look-up. About 2 MB.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kernel.policy.reuse_fit import Fit, Values, finished, fit
from kernel.policy.reuse_traits import (
    NUM_AGES,
    NUM_CELLS,
    Floats,
    Ints,
    add_time_at_risk,
    age_of,
)

FIT_EVERY = 256  # records
DECAY = 0.99  # of the counts, at each fit
MAX_OPEN = 20_000  # records; the oldest is taken as never to return


@dataclass(slots=True)
class Record:
    """A use whose program has not come back yet."""

    at_s: float
    cell: int


class ReuseModel:
    """See the module head."""

    __slots__ = (
        "_events",
        "_exposure",
        "_fit",
        "_last_use_s",
        "_open",
        "_since_fit",
        "_values",
        "num_returns",
    )

    def __init__(self) -> None:
        self._events = np.zeros((NUM_CELLS, NUM_AGES))
        self._exposure = np.zeros((NUM_CELLS, NUM_AGES))
        self._open: dict[str, Record] = {}
        self._since_fit = 0
        self._last_use_s = 0.0
        self._fit: Fit | None = None  # under way
        self._values: Values = finished(self._begin(0.0))
        self.num_returns = 0

    def use(self, program: str, at_s: float, cell: int) -> None:
        """Close the program's record, it came back, and open the next."""
        self.end(program, at_s, has_returned=True)
        self._open[program] = Record(at_s, cell)
        if len(self._open) > MAX_OPEN:
            oldest = next(iter(self._open))
            self._close(self._open.pop(oldest), at_s)
        self._since_fit += 1
        self._last_use_s = at_s

    def end(self, program: str, at_s: float, *, has_returned: bool) -> None:
        """Close the program's record: its blocks were used again, or it will not come back."""
        record = self._open.pop(program, None)
        if record is None:
            return
        self._close(record, at_s)
        if has_returned:
            self._events[record.cell, age_of(at_s - record.at_s)] += 1
            self.num_returns += 1

    def _close(self, record: Record, at_s: float) -> None:
        add_time_at_risk(self._exposure[record.cell], at_s - record.at_s)

    def value(self, cells: Ints, ages_s: Floats) -> Floats:
        """Return what a block of such records is worth, in returns per second."""
        return self._values.at(cells, ages_s)

    def work(self) -> None:
        """Go on with the fit that is under way, or begin the one that is due: one slice."""
        if self._fit is not None:
            try:
                next(self._fit)
            except StopIteration as end:
                self._fit, self._values = None, end.value
        elif self._since_fit >= FIT_EVERY:
            self._fit = self._begin(self._last_use_s)

    def fit(self, now_s: float) -> None:
        """Learn now from all that was counted; several milliseconds."""
        self._fit, self._values = None, finished(self._begin(now_s))

    def _begin(self, now_s: float) -> Fit:
        """Return a fit to all that was counted, which counts a little less from now on."""
        records = self._open.values()
        cells = np.array([record.cell for record in records], np.int64)
        ages_s = np.array([now_s - record.at_s for record in records])
        begun = fit(self._events.copy(), self._exposure.copy(), cells, ages_s)
        self._events *= DECAY
        self._exposure *= DECAY
        self._since_fit = 0
        return begun
