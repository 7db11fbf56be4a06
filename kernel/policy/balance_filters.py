"""Affinity and anti-affinity: which replicas may be chosen at all, before a policy chooses.

``near``: jobs with the same key go where the others of that key are, while any is unfinished.
``apart``: jobs with the same key go to different replicas, as long as there is one that has none.
Both give way rather than leave a job without a replica: an affinity whose replica is gone is
free again, and an anti-affinity that nobody can keep binds to those who have the fewest.

Invariant: a key is remembered exactly while a job with it is unfinished; so memory is O(jobs).
Cost: O(1) for ``near``, O(n) for ``apart``.
"""

from __future__ import annotations

from collections.abc import Sequence

from kernel.policy.balance import Replica


class Groups:
    """Which unfinished jobs of each key are where."""

    __slots__ = ("_places",)

    def __init__(self) -> None:
        self._places: dict[str, dict[int, int]] = {}  # key -> replica -> jobs

    def __len__(self) -> int:
        return len(self._places)

    def enter(self, key: str, replica: int) -> None:
        """A job with this key was given to the replica."""
        if key:
            places = self._places.setdefault(key, {})
            places[replica] = places.get(replica, 0) + 1

    def leave(self, key: str, replica: int) -> None:
        """It has left it."""
        places = self._places.get(key)
        if places is None or replica not in places:
            return
        places[replica] -= 1
        if not places[replica]:
            del places[replica]
        if not places:
            del self._places[key]

    def near(self, key: str, replicas: Sequence[Replica]) -> Sequence[Replica]:
        """Return those where jobs of this key are; all, if there is none."""
        places = self._places.get(key)
        if not places:
            return replicas
        return [replica for replica in replicas if replica.id in places] or replicas

    def apart(self, key: str, replicas: Sequence[Replica]) -> Sequence[Replica]:
        """Return those that have the fewest jobs of this key."""
        places = self._places.get(key)
        if not places:
            return replicas
        fewest = min(places.get(replica.id, 0) for replica in replicas)
        return [replica for replica in replicas if places.get(replica.id, 0) == fewest]
