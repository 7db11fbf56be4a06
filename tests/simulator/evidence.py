"""Reads the rows of evidence that virtual handlers commit: which turns took effect, in order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ipc.plain import decode_plain
from ipc.protocol import Kind
from kernel.core import Core
from kernel.records import WriteSet
from tests.simulator.violation import Violation, demand

if TYPE_CHECKING:
    from tests.simulator.checker import Accepted, Checker


class Evidence:
    """See the module head. ``fresh``: messages whose turns the last write set committed."""

    def __init__(self, checker: Checker) -> None:
        self.checker = checker
        self.fresh: dict[int, None] = {}
        self._numbers: dict[int, int] = {}  # actor -> commits so far
        self._by: dict[int, int] = {}  # message -> actor that has committed it
        self._lanes: dict[tuple[int, int, int, int], int] = {}  # last message committed per lane
        self.allowed: dict[tuple[int, str], int] = {}  # timers and publishes, by sender and uid
        self._sums: dict[tuple[int, str], int] = {}

    def read(self, changes: WriteSet) -> None:
        """Take note of the turns that a write set has committed."""
        self.fresh = {}
        found: dict[int, list[tuple[int, int]]] = {}
        rows: dict[Any, Any] = changes.tables.get("state", {})
        for (actor, name), row in rows.items():
            if row is not None and name[0] == "d":
                number, message = decode_plain(row[0])
                found.setdefault(actor, []).append((number, message))
        for actor, commits in found.items():
            for number, message in sorted(commits):
                self._commit(actor, number, message)

    def _commit(self, actor: int, number: int, identifier: int) -> None:
        before = self._numbers.get(actor, 0)
        if number != before + 1:
            raise Violation(
                "effectively once", f"commit {number} of actor {actor} follows its commit {before}"
            )
        self._numbers[actor] = number
        if identifier in self._by:
            raise Violation("effectively once", f"message {identifier} was committed twice")
        message = self.checker.messages.get(identifier)
        if message is None:
            raise Violation("effectively once", f"commit of message {identifier}, never accepted")
        demand(not message.end, "a message ends once", f"{message} commits after its end")
        demand(message.receiver == actor, "a turn belongs to its receiver", f"{message} at {actor}")
        self._by[identifier] = actor
        self.fresh[identifier] = None
        self._check_order(message)
        self.allow(actor, identifier)
        for key, amount in message.adds.items():
            self._sums[actor, key] = self._sums.get((actor, key), 0) + amount

    def allow(self, actor: int, identifier: int) -> None:
        """A turn has committed: what its timers and publishes send may be accepted once more."""
        for effect in self.checker.sent.get(identifier, ()):
            if effect.kind != Kind.TELL:
                key = (actor, effect.uid)
                self.allowed[key] = self.allowed.get(key, 0) + 1

    def _check_order(self, message: Accepted) -> None:
        """Messages of one lane take effect in the order accepted (at concurrency 1)."""
        if message.is_system or self._concurrency(message.receiver) > 1:
            return
        if message.is_moved or message.is_handed_over:
            return  # it came to a member that may have begun later ones; it is in another lane
        lane = (message.sender, message.to, message.receiver, message.priority)
        last = self._lanes.get(lane, 0)
        demand(message.id > last, "order", f"{message} takes effect after message {last}")
        self._lanes[lane] = message.id

    def _concurrency(self, actor: int) -> int:
        core = self.checker.simulation.kernel.core
        record = core.state.actors.get(actor) if core is not None else None
        return record.concurrency if record is not None else 2

    def check_effects(self, core: Core) -> None:
        """What a turn told is accepted with it, all of it, or dead-lettered at once."""
        for identifier in self.fresh:
            for effect in self.checker.sent.get(identifier, ()):
                if effect.kind != Kind.TELL or effect.receiver not in core.state.actors:
                    continue
                if not self.checker.by_uid.get((identifier, effect.receiver, effect.uid)):
                    raise Violation(
                        "a turn's effects are one record",
                        f"{identifier} has committed without its {effect}",
                    )

    def check_rest(self, core: Core) -> None:
        """State equals the sum of the committed turns."""
        for (actor, key), total in self._sums.items():
            record = core.state.actors.get(actor)
            if record is not None:
                value = decode_plain(record.state.get(key, b"\0"))
                demand(
                    value == total,
                    "state is what was committed",
                    f"{record.name}[{key}] is {value}, its turns have added {total}",
                )
        for record in core.state.actors.values():
            number = decode_plain(record.state.get("n", b"\0"))
            demand(
                number == self._numbers.get(record.id, 0),
                "state is what was committed",
                f"{record.name} counts {number}, {self._numbers.get(record.id)} seen",
            )
