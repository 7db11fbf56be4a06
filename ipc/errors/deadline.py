"""Errors of lateness; the caller decides what it means. Codes 251 to 299."""

from __future__ import annotations

from ipc.errors.base import DeadlineError


class AskTimeoutError(DeadlineError, TimeoutError):
    """The answer did not come before the deadline; the work below was cancelled."""

    code = 251
    template = "no answer from {receiver} within the deadline"
