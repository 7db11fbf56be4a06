"""Errors of a limit that was reached: back off, then retry. Nothing was enqueued.

Codes 201 to 249.
"""

from __future__ import annotations

from ipc.errors.base import OverloadError


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
    """More of a resource is asked for than is free. Nothing was reserved, nothing was spawned."""

    code = 206
    retryable = True
    template = (
        "cannot reserve {wanted} {unit} of {resource}: "
        "{free} of {capacity} are free, {short} too few"
    )
