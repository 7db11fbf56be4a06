"""An actor's durable state: what is committed, and the private overlay of each turn.

A turn reads and writes an overlay; nothing else sees it. At commit each key the turn touched is
encoded again and stored if its bytes changed, so that in-place changes count. A turn that does
not commit is simply dropped.

With ``concurrency`` above 1 an overlay also notes the version of each key it read. ``is_stale``
is true once another turn has committed one of them: then the turn must run again (I1).

Invariants:
  I1  no turn commits on the ground of a value that is no longer the committed one.
  I2  the committed values are those of all commits sent; a refused one reloads the store.

Cost: a key read is decoded once a turn and encoded at its commit, about 1 us each for scalars.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any

from actors.bodies import MakeRef, from_stored, to_stored
from ipc.errors import SchemaError

_IMMUTABLE = (bool, int, float, str, bytes, type(None))
_ALL_KEYS = ""  # the version under which the set of keys is counted; no key is empty


class StateStore:
    """The committed values of one actor, as bytes."""

    __slots__ = ("make_ref", "values", "versions")

    def __init__(self, make_ref: MakeRef) -> None:
        self.make_ref = make_ref
        self.values: dict[str, bytes] = {}
        self.versions: dict[str, int] = {}

    def load(self, values: dict[str, bytes]) -> None:
        """Take the kernel's values in place of ours."""
        self.values = dict(values)
        self.versions = {key: version + 1 for key, version in self.versions.items()}
        for key in (*values, _ALL_KEYS):
            self.versions.setdefault(key, 1)

    def apply(self, changes: dict[str, bytes | None]) -> None:
        """Make a turn's changes the committed values."""
        versions = self.versions
        for key, value in changes.items():
            if (key in self.values) is (value is None):
                versions[_ALL_KEYS] = versions.get(_ALL_KEYS, 0) + 1
            versions[key] = versions.get(key, 0) + 1
            if value is None:
                self.values.pop(key, None)
            else:
                self.values[key] = value


class TurnState(MutableMapping[str, Any]):
    """``self.state``: the overlay of one turn. Keys are non-empty strings."""

    __slots__ = ("_deleted", "_originals", "_reads", "_store", "_values")

    def __init__(self, store: StateStore, *, tracks_reads: bool = False) -> None:
        self._store = store
        self._values: dict[str, Any] = {}  # touched: read or written
        self._originals: dict[str, Any] = {}  # immutable values as they were read
        self._deleted: set[str] = set()
        self._reads: dict[str, int] | None = {} if tracks_reads else None

    def __getitem__(self, key: str) -> Any:
        if key in self._values:
            return self._values[key]
        if self._reads is not None:
            self._note_read(key)
        data = self._store.values.get(key)
        if data is None or key in self._deleted:
            raise KeyError(key)
        value = self._values[key] = from_stored(data, self._store.make_ref, key)
        if type(value) in _IMMUTABLE:
            self._originals[key] = value
        return value

    def __setitem__(self, key: str, value: Any) -> None:
        if type(key) is not str or not key:
            raise SchemaError(where="self.state", problem=f"a key is a non-empty str, not {key!r}")
        self._values[key] = value
        self._deleted.discard(key)

    def __delitem__(self, key: str) -> None:
        if key not in self:
            raise KeyError(key)
        self._values.pop(key, None)
        self._deleted.add(key)

    def __contains__(self, key: object) -> bool:
        if key in self._values:
            return True
        if self._reads is not None and isinstance(key, str):
            self._note_read(key)
        return key in self._store.values and key not in self._deleted

    def __iter__(self) -> Iterator[str]:
        if self._reads is not None:
            self._note_read(_ALL_KEYS)
        kept = [key for key in self._store.values if key not in self._deleted]
        return iter(kept + [key for key in self._values if key not in self._store.values])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return repr(dict(self))

    def changes(self) -> dict[str, bytes | None]:
        """Return what this turn changed: new bytes, or None for a key that is gone.

        Raises:
            NotEncodableError: a value cannot be stored; it says which.
        """
        committed = self._store.values
        found: dict[str, bytes | None] = {key: None for key in self._deleted if key in committed}
        for key, value in self._values.items():
            if key in self._originals and value is self._originals[key]:
                continue
            data = to_stored(value)
            if data != committed.get(key):
                found[key] = data
        return found

    @property
    def is_stale(self) -> bool:
        """Say whether another turn has committed a key that this one read."""
        versions = self._store.versions
        return bool(self._reads) and any(
            versions.get(key, 0) != version for key, version in (self._reads or {}).items()
        )

    def _note_read(self, key: str) -> None:
        if self._reads is not None and key not in self._deleted:
            self._reads.setdefault(key, self._store.versions.get(key, 0))
