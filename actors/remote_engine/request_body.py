"""The body of an HTTP request, from a call's input and sampling.

Raw text goes to ``/completions``, messages to ``/chat/completions``. Building a body is also the
whole check of a request: PREPARE builds it and throws it away.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from actors.remote_engine.messages import check_tools, to_api, to_json
from actors.remote_engine.options import Api, translate
from ipc.errors import BadPromptError
from ipc.llm import LlmInput, Sampling

PATHS: dict[Api, str] = {"chat": "/chat/completions", "text": "/completions"}


@dataclass(frozen=True, slots=True)
class RequestBody:
    """What is posted, and where. The content is in no repr: it is somebody's prompt."""

    api: Api
    content: bytes = field(repr=False)
    stream: bool

    @property
    def path(self) -> str:
        """Return where it goes, below the endpoint's base URL."""
        return PATHS[self.api]


def build_body(model: str, given: LlmInput, sampling: Sampling, *, stream: bool) -> RequestBody:
    """Return the body.

    Raises:
        BadPromptError: the input is none, or none for a remote model.
        SamplingError: an option cannot be said.
    """
    api, fields = _input_fields(given)
    fields = {"model": model, **fields, **translate(sampling, api), "stream": stream}
    if stream:
        fields["stream_options"] = {"include_usage": True}
    return RequestBody(api, to_json(fields).encode(), stream)


def _input_fields(given: LlmInput) -> tuple[Api, dict[str, Any]]:
    kinds = [kind for kind in ("prompt", "ids", "messages") if kind in given]
    if len(kinds) != 1:
        raise BadPromptError(problem="it is exactly one of prompt, ids and messages")
    if "ids" in given:
        raise BadPromptError(problem="a remote model takes text or messages, not token ids")
    if "messages" in given:
        fields: dict[str, Any] = {"messages": to_api(given["messages"])}
        return "chat", fields | _tools(given)
    if given.get("tools"):
        raise BadPromptError(problem="tools go with messages, not with a raw prompt")
    if not isinstance(given["prompt"], str) or not given["prompt"]:
        raise BadPromptError(problem="the prompt is empty")
    return "text", {"prompt": given["prompt"]}


def _tools(given: LlmInput) -> dict[str, Any]:
    tools = check_tools(given.get("tools", []))
    return {"tools": tools} if tools else {}
