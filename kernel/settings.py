"""What an operator has set on the running kernel, kept over restarts.

A setting goes before the configuration (file and environment) until it is reset: what was decided
at run time is the later decision. What is set and what is configured are both shown
(`llmos policy show`), so that nobody looks for the reason in the wrong place.

Journaled in the table `setting`; a value is text. Cost: one dict look-up.
"""

from __future__ import annotations

from kernel.records import Snapshot, WriteSet


class Settings:
    """See the module head."""

    __slots__ = ("_values",)

    def __init__(self, rows: Snapshot) -> None:
        self._values: dict[str, str] = {
            name: value for name, (value,) in rows.get("setting", {}).items()
        }

    def get(self, name: str) -> str | None:
        """Return what was set, or None: the configuration counts."""
        return self._values.get(name)

    def put(self, name: str, value: str, changes: WriteSet) -> None:
        """Set a value, durable with this loop turn."""
        self._values[name] = value
        changes.put("setting", name, (value,))

    def drop(self, name: str, changes: WriteSet) -> None:
        """Let the configuration count again."""
        if self._values.pop(name, None) is not None:
            changes.delete("setting", name)
