"""Errors of a limit that was reached: back off, then retry. Nothing was enqueued.

Codes 201 to 249.
"""

from __future__ import annotations

from typing import Any

from ipc.errors.base import OverloadError

_AMOUNTS = ("free", "capacity", "short")
_SIZES = ("bytes", "KiB", "MiB", "GiB", "TiB")


class MailboxFullError(OverloadError):
    """The receiver's mailbox is at its limit. Nothing was enqueued."""

    code = 201
    template = (
        "mailbox of actor {receiver} is full: {depth} of {limit} messages, "
        "{used_bytes} of {limit_bytes} bytes"
    )


class StorageFullError(OverloadError):
    """The journal's disk is nearly full: no new sends are accepted; commits still pass."""

    code = 202
    template = "the kernel's disk has {free_bytes} bytes free, below its mark of {mark_bytes}"


class LimitError(OverloadError):
    """A limit of the kernel was reached. Nothing was created."""

    code = 203
    template = "{what}: {value} of {limit}"


class LlmQueueFullError(OverloadError):
    """As many requests wait for the model as may. Nothing was queued."""

    code = 204
    retryable = True
    template = "{value} requests wait for model {model!r}; the limit is {limit}"


class BudgetExceededError(OverloadError):
    """A budget does not allow it, and the caller would not wait. Nothing was sent or computed.

    Amounts in the resource's unit. account: whose limit it is. used: spent, reserved and promised.
    """

    code = 205
    retryable = True
    template = "the budget of {account}: {needed} {resource} needed, {used} of {limit} are taken"


class ReservationError(OverloadError):
    """More of a resource is asked for than is free. Nothing was reserved, nothing was spawned.

    unit: of the amounts, which are integers; the text has them in CPUs and binary sizes.
    """

    code = 206
    retryable = True
    template = (
        "cannot reserve {wanted} {unit} of {resource}: "
        "{free} of {capacity} are free, {short} too few"
    )

    def __init__(self, **fields: Any) -> None:
        super().__init__(**fields)
        self.args = (self.template.format(**_as_people_read(fields)),)


def _as_people_read(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a reservation's error with amounts in CPUs, or as binary sizes."""
    unit, wanted = fields["unit"], fields["wanted"]
    if unit == "thousandths of a CPU":
        shown = {name: f"{fields[name] / 1000:g}" for name in ("wanted", *_AMOUNTS)}
        return {**fields, **shown, "unit": "CPU" if wanted == 1000 else "CPUs"}
    if unit == "bytes":
        number, size = _size(wanted)
        sizes = {name: " ".join(_size(fields[name])) for name in _AMOUNTS}
        return {**fields, **sizes, "wanted": number, "unit": size}
    return fields


def _size(num_bytes: int) -> tuple[str, str]:
    """Return a number and its binary unit; exact if it is whole in one, else to two decimals."""
    value, place = float(num_bytes), 0
    while value >= 1024 and place < len(_SIZES) - 1:
        value, place = value / 1024, place + 1
    return f"{value:.2f}".rstrip("0").rstrip("."), _SIZES[place]
