"""Names of actors, who may look them up, and the spawn tree.

Invariants: a name belongs to one actor; a child's parent exists or is 0 (the operator).
Cost: O(1); ``children`` is O(children). Leaf: it knows actors only by their ids.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from fnmatch import fnmatchcase

from kernel.config import AccessRule


class NameTable:
    """Names of actors, and who may look them up."""

    __slots__ = ("_ids", "_rules")

    def __init__(self, rules: tuple[AccessRule, ...]) -> None:
        self._ids: dict[str, int] = {}
        self._rules = rules

    def claim(self, name: str, actor: int) -> None:
        """Bind the name. The caller has checked that it is free."""
        self._ids[name] = actor

    def release(self, name: str) -> None:
        """Free the name."""
        self._ids.pop(name, None)

    def find(self, name: str) -> int | None:
        """Return whose name it is, or None."""
        return self._ids.get(name)

    def suggest(self, name: str) -> list[str]:
        """Return up to three names that look like this one."""
        return difflib.get_close_matches(name, self._ids, n=3)

    def may_look_up(self, subject: str, name: str) -> bool:
        """Say whether the rules let ``subject`` look ``name`` up; without a rule it may."""
        for rule in self._rules:
            if fnmatchcase(subject, rule.subject) and fnmatchcase(name, rule.name):
                return rule.allow
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids)


class SpawnTree:
    """Who spawned whom, children in the order they were started."""

    __slots__ = ("_children",)

    def __init__(self) -> None:
        self._children: dict[int, dict[int, None]] = {}

    def add(self, parent: int, child: int) -> None:
        """Append a child."""
        self._children.setdefault(parent, {})[child] = None

    def remove(self, parent: int, child: int) -> None:
        """Take a child out."""
        children = self._children.get(parent, {})
        children.pop(child, None)
        if not children:
            self._children.pop(parent, None)

    def children(self, parent: int) -> list[int]:
        """Return the children, first started first. parent 0: the operator's."""
        return list(self._children.get(parent, ()))

    def descendants(self, actor: int) -> list[int]:
        """Return all below an actor, each after its parent."""
        found: list[int] = []
        frontier = self.children(actor)
        while frontier:
            child = frontier.pop(0)
            found.append(child)
            frontier += self.children(child)
        return found
