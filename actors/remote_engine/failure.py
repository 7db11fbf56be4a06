"""Why a call failed, and what that proves: may it be tried again, is it over, or in doubt?

    unstarted   no connection; 429; 503. The endpoint generated nothing and may do so later.
    final       every other refusal (4xx, a redirect): nothing generated, and asking again is in
                vain. An answer that breaks the protocol: generated, paid, and of no use; the
                caller gets the error. The deadline.
    in doubt    408, other 5xx; a connection or a stream that broke; silence: something may have
                been generated and billed, so nobody repeats it silently.

A 503 or 429 is the first thing the endpoint says to a request; after that nothing is unstarted.
Source: DESIGN 8; RFC 9110 section 10.2.3 (Retry-After).
"""

from __future__ import annotations

import math
import re
import time
from email.utils import parsedate_to_datetime
from enum import Enum

from actors.remote_engine.endpoint import Endpoint
from ipc.engine import RemoteFailure
from ipc.errors import DeadlineError, EndpointError, LLMOSError, to_wire

UNSTARTED_STATUS = frozenset({429, 503})
DOUBTFUL_STATUS = frozenset({408, 500, 502, 504})
MAX_PROBLEM = 280  # characters of what an endpoint says
_SECONDS = re.compile(r"\d{1,9}(\.\d{1,9})?")


class Proof(Enum):
    """What a failure proves."""

    UNSTARTED = 1
    FINAL = 2
    DOUBT = 3


class CallFailure(Exception):
    """A call failed. It stays within the engine: ``wire`` is what the kernel is told."""

    def __init__(self, proof: Proof, error: LLMOSError, retry_after_s: float | None = None) -> None:
        super().__init__(str(error))
        self.proof = proof
        self.error = error
        self.retry_after_s = retry_after_s

    @property
    def status(self) -> int:
        """The HTTP status, 0 without one."""
        return self.error.status if isinstance(self.error, EndpointError) else 0

    def wire(self) -> RemoteFailure:
        """Return the body of a failed DONE."""
        failure = RemoteFailure(
            error=to_wire(self.error),
            is_unstarted=self.proof is Proof.UNSTARTED,
            is_in_doubt=self.proof is Proof.DOUBT,
        )
        if self.retry_after_s is not None:
            failure["retry_after_s"] = self.retry_after_s
        return failure


class LieError(Exception):
    """The endpoint said something that its protocol does not allow."""


def refused(
    endpoint: Endpoint, status: int, said: str, retry_after: str | None = None
) -> CallFailure:
    """Return the failure of an answer that is not 200. said: what else is known of it."""
    if status in UNSTARTED_STATUS:
        after_s = read_retry_after(retry_after, time.time())
        return CallFailure(Proof.UNSTARTED, _error(endpoint, status, said), after_s)
    is_doubtful = status in DOUBTFUL_STATUS or status > 504
    proof = Proof.DOUBT if is_doubtful else Proof.FINAL
    return CallFailure(proof, _error(endpoint, status, said))


def unreachable(endpoint: Endpoint, problem: str) -> CallFailure:
    """Return the failure of a connection that never came to be."""
    return CallFailure(Proof.UNSTARTED, _error(endpoint, 0, f"no connection: {problem}"))


def broken(endpoint: Endpoint, status: int, problem: str) -> CallFailure:
    """Return the failure of a connection that fell silent or ended early."""
    return CallFailure(Proof.DOUBT, _error(endpoint, status, problem))


def lied(endpoint: Endpoint, status: int, problem: str) -> CallFailure:
    """Return the failure of an answer that breaks the protocol."""
    return CallFailure(Proof.FINAL, _error(endpoint, status, problem))


def too_late(endpoint: Endpoint) -> CallFailure:
    """Return the failure of a call whose deadline passed."""
    reason = f"the deadline passed while {endpoint.base_url} was at work"
    return CallFailure(Proof.FINAL, DeadlineError(reason=reason))


def read_retry_after(value: str | None, now_s: float) -> float | None:
    """Return the seconds that a Retry-After header says; None if it says nothing of use.

    now_s: seconds since the epoch.
    """
    text = (value or "").strip()
    if _SECONDS.fullmatch(text):  # whole seconds by the RFC; some endpoints give fractions
        return float(text)
    try:
        wait_s = parsedate_to_datetime(text).timestamp() - now_s
    except (ValueError, OverflowError):
        return None
    return max(0.0, wait_s) if math.isfinite(wait_s) else None


def readable(text: str) -> str:
    """Return a text of the endpoint's as one short line."""
    words = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    return words if len(words) <= MAX_PROBLEM else f"{words[:MAX_PROBLEM]}..."


def _error(endpoint: Endpoint, status: int, problem: str) -> EndpointError:
    said = f"HTTP status {status}: {problem}" if status else problem
    return EndpointError(endpoint=endpoint.base_url, status=status, problem=said)
