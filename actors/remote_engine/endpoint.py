"""Where a remote model is: what a ModelSpec says of it, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ipc.endpoint_url import problem_of_url, without_secrets
from ipc.errors import BadModelError, LLMOSError

CONNECT_S = 10.0  # a connection that takes longer will not come


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One model of one endpoint."""

    name: str  # ours for the model
    base_url: str  # without a slash at its end
    model: str  # the endpoint's own name for it
    timeout_s: float  # of silence
    concurrency: int
    max_context: int | None

    @property
    def connect_s(self) -> float:
        """How long a connection may take."""
        return min(CONNECT_S, self.timeout_s)

    def wrong(self, problem: str) -> LLMOSError:
        """Return the error that the model cannot be used."""
        return BadModelError(model=self.name, location=self.base_url, problem=problem)


def read_endpoint(spec: dict[str, Any]) -> Endpoint:
    """Return what the spec says.

    Raises:
        BadModelError: it says too little, or nothing that could work.
    """
    name = str(spec.get("name", ""))
    url = str(spec.get("endpoint", ""))
    problem = problem_of_url(url) or _problem_of_numbers(spec)
    if problem is not None:
        raise BadModelError(model=name, location=without_secrets(url), problem=problem)
    return Endpoint(
        name=name,
        base_url=url.rstrip("/"),
        model=str(spec.get("remote_model") or name),
        timeout_s=float(spec.get("timeout_s", 60.0)),
        concurrency=int(spec.get("concurrency", 8)),
        max_context=spec.get("max_context"),
    )


def _problem_of_numbers(spec: dict[str, Any]) -> str | None:
    if not 0 < float(spec.get("timeout_s", 60.0)) < float("inf"):
        return "timeout_s is a number above 0"
    if int(spec.get("concurrency", 8)) < 1:
        return "concurrency is at least 1"
    return None
