"""What every error of ours is, and the families: who must act.

The caller (UsageError), the caller with other authority (DeniedError), the caller later
(OverloadError), the caller deciding what lateness means (DeadlineError), a supervisor (PeerError),
an operator (CorruptionError), or us (KernelBugError).
"""

from __future__ import annotations

from string import Formatter
from typing import Any, ClassVar


class LLMOSError(Exception):
    """Base of all errors raised by this project.

    Fields are given by keyword, are attributes afterwards, and are exactly the
    names that ``template`` uses plus those listed in ``extra``.
    """

    code: ClassVar[int] = 0
    retryable: ClassVar[bool] = False
    template: ClassVar[str] = "{reason}"
    extra: ClassVar[tuple[str, ...]] = ()

    def __init__(self, **fields: Any) -> None:
        wanted = self.field_names()
        if set(fields) != wanted:
            raise TypeError(f"{type(self).__name__} takes {sorted(wanted)}, got {sorted(fields)}")
        self.fields = fields
        super().__init__(self.template.format(**fields))

    @classmethod
    def field_names(cls) -> set[str]:
        """Return the names of the fields this class carries."""
        named = {name for _, name, _, _ in Formatter().parse(cls.template) if name}
        return named | set(cls.extra)

    def __getattr__(self, name: str) -> Any:
        fields = self.__dict__.get("fields", {})
        if name in fields:
            return fields[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.fields)


def _rebuild(cls: type[LLMOSError], fields: dict[str, Any]) -> LLMOSError:
    return cls(**fields)


class UsageError(LLMOSError):
    """The caller passed something the API forbids. Fix the calling code."""

    code = 100


class DeniedError(LLMOSError):
    """The caller lacks the authority. Another caller, or other access rules, are needed."""

    code = 150


class OverloadError(LLMOSError):
    """A limit was reached; nothing was enqueued. Back off, then retry."""

    code = 200
    retryable = True


class DeadlineError(LLMOSError):
    """The deadline passed. What had been done is not undone."""

    code = 250


class PeerError(LLMOSError):
    """The world broke it, not the caller. A supervisor must act."""

    code = 300


class CorruptionError(LLMOSError):
    """Stored or received bytes are wrong. An operator must act."""

    code = 400


class KernelBugError(LLMOSError):
    """A broken invariant of ours. Please report it."""

    code = 900
