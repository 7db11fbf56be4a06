"""The models that requests can name: versions of a name, kept apart, and the one in use.

Adding a name again makes its next version; the versions before it stay for the sessions that
began with them. The embedded model is there without being added.

Leaf: it changes nothing but itself; rows are read and written by the service.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ipc.errors import UnknownModelError
from ipc.llm import EMBEDDED_MODEL, EMBEDDED_PATH, ModelSpec


@dataclass(slots=True, eq=False)
class ModelVersion:
    """One version of one name."""

    name: str
    version: int
    spec: ModelSpec
    is_default: bool = False
    is_removed: bool = False
    engine_actors: list[int] = field(default_factory=list)  # those spawned for it
    error: dict[str, Any] | None = None  # why its engines cannot run; not journaled

    @property
    def label(self) -> str:
        """Return name@version, which names this version in requests."""
        return f"{self.name}@{self.version}"

    @property
    def kind(self) -> str:
        """Return which sort of engine computes it."""
        for kind, key in (("remote", "endpoint"), ("driver", "driver")):
            if self.spec.get(key):
                return kind
        return "torch"

    @property
    def location(self) -> str:
        """Return where it is."""
        spec = self.spec
        return spec.get("endpoint") or spec.get("driver") or spec.get("path") or ""

    def to_row(self) -> dict[str, Any]:
        """Return what is journaled."""
        return {
            "spec": self.spec,
            "default": self.is_default,
            "removed": self.is_removed,
            "engines": self.engine_actors,
        }


class ModelRegistry:
    """See the module head."""

    def __init__(self) -> None:
        self._versions: dict[tuple[str, int], ModelVersion] = {}
        spec = ModelSpec(name=EMBEDDED_MODEL, path=EMBEDDED_PATH)
        self._put(ModelVersion(EMBEDDED_MODEL, 1, spec))

    def __iter__(self) -> Iterator[ModelVersion]:
        return iter([model for model in self._versions.values() if not model.is_removed])

    def all_versions(self) -> list[ModelVersion]:
        """Return all versions, the removed ones too: sessions may still be on them."""
        return list(self._versions.values())

    def load(self, name: str, version: int, row: dict[str, Any]) -> None:
        """Take a journaled version."""
        model = ModelVersion(name, version, row["spec"], row["default"], row["removed"])
        model.engine_actors = row["engines"]
        self._put(model)

    def _put(self, model: ModelVersion) -> None:
        self._versions[model.name, model.version] = model

    def add(self, spec: ModelSpec) -> ModelVersion:
        """Make the next version of the spec's name."""
        name = spec["name"]
        versions = [model.version for model in self._versions.values() if model.name == name]
        model = ModelVersion(name, max(versions, default=0) + 1, spec)
        newest = self._newest(name)
        self._put(model)
        if newest is not None and newest.is_default:
            newest.is_default, model.is_default = False, True
        return model

    def resolve(self, name: str | None) -> ModelVersion:
        """Return what a request names: a name's newest version, name@version, or the one in use.

        Raises:
            UnknownModelError: there is none.
        """
        if name is None:
            return self.default()
        if not isinstance(name, str):  # it comes from a message as it is
            raise UnknownModelError(name=repr(name)[:80], known=self._known())
        base, at, number = name.partition("@")
        if at and number.isdecimal():
            model = self._versions.get((base, int(number)))
        else:
            model = self._newest(name)
        if model is None or model.is_removed:
            raise UnknownModelError(name=name, known=self._known())
        return model

    def default(self) -> ModelVersion:
        """Return the model in use; without a choice the embedded one, else the only one."""
        for model in self:
            if model.is_default:
                return model
        names = {model.name for model in self}
        choice = EMBEDDED_MODEL if EMBEDDED_MODEL in names else next(iter(names), "")
        if not choice or (choice != EMBEDDED_MODEL and len(names) > 1):
            raise UnknownModelError(name="(none in use)", known=self._known())
        return self.resolve(choice)

    def use(self, model: ModelVersion) -> list[ModelVersion]:
        """Put a version in use; return those that changed."""
        changed = [other for other in self if other.is_default and other is not model]
        for other in changed:
            other.is_default = False
        model.is_default = True
        return [*changed, model]

    def remove(self, model: ModelVersion) -> list[ModelVersion]:
        """Remove a version; return those that changed: in use after it is its name's newest."""
        was_default = model.is_default
        model.is_removed, model.is_default = True, False
        heir = self._newest(model.name) if was_default else None
        if heir is None:
            return [model]
        heir.is_default = True
        return [model, heir]

    def _newest(self, name: str) -> ModelVersion | None:
        versions = [model for model in self if model.name == name]
        return max(versions, key=lambda model: model.version, default=None)

    def is_newest(self, model: ModelVersion) -> bool:
        """Say whether new requests by its name go to this version."""
        return self._newest(model.name) is model

    def _known(self) -> str:
        return ", ".join(sorted({model.name for model in self})) or "none; add one first"
