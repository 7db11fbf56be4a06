"""What a model answered: text, tokens, tool calls, and what it took.

A completion can be returned from a handler or put into ``self.state`` like any dataclass (without
``parsed``, which is read from the text each time anew).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Generic

from typing_extensions import TypeVar

from ipc import llm as wire
from ipc.errors import SchemaError, UsageError

if TYPE_CHECKING:
    from actors.llm.structure import Structure

P_co = TypeVar("P_co", covariant=True, default=Any)

_SECOND_NS = 1e9


@dataclass(frozen=True, slots=True)
class Usage:
    """What a completion took. Times are of the kernel's clock."""

    prompt_tokens: int = 0
    cached_tokens: int = 0  # of the prompt's, found in the KV cache
    completion_tokens: int = 0
    waiting_s: float = 0.0  # until the first step planned for it
    prefill_s: float = 0.0  # from there to the first token
    decode_s: float = 0.0  # from there to the last
    preemptions: int = 0
    model: str = ""
    version: int = 0

    @property
    def total_tokens(self) -> int:
        """Prompt and completion together."""
        return self.prompt_tokens + self.completion_tokens

    @property
    def first_token_s(self) -> float:
        """Time to the first token."""
        return self.waiting_s + self.prefill_s

    @property
    def total_s(self) -> float:
        """Time to the last token."""
        return self.first_token_s + self.decode_s


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that the model wants made."""

    id: str
    name: str
    arguments: dict[str, Any]

    def answer(self, value: Any) -> dict[str, Any]:
        """Return the message that tells the model what came of it. value: text, or JSON."""
        content = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        return {"role": "tool", "tool_call_id": self.id, "name": self.name, "content": content}


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """How likely a token was. top: the likeliest at its place, as (id, logprob)."""

    id: int
    logprob: float
    top: list[tuple[int, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Completion(Generic[P_co]):
    """What a model answered; ``str()`` gives the text."""

    text: str
    ids: list[int]  # of the completion; empty for remote models
    finish_reason: wire.FinishReason
    usage: Usage
    tool_calls: list[ToolCall] = field(default_factory=list)
    logprobs: list[TokenLogprob] | None = None

    _structure: ClassVar[Structure | None] = None  # of the instance, where a schema was asked for

    def __str__(self) -> str:
        return self.text

    @cached_property
    def parsed(self) -> P_co:
        """What the text says, as the ``schema`` asked for.

        Raises:
            SchemaError: the text does not fit: often it was cut short, see ``finish_reason``.
            UsageError: no schema was asked for.
        """
        if self._structure is None:
            raise UsageError(reason="only a completion made with schema=... is parsed")
        try:
            parsed: P_co = self._structure.parse(self.text)
        except SchemaError as error:
            problem = f"{error.problem} (finish_reason: {self.finish_reason})"
            raise SchemaError(where=error.where, problem=problem) from None
        return parsed

    @property
    def message(self) -> dict[str, Any]:
        """The completion as a message, to be put into the conversation."""
        message: dict[str, Any] = {"role": "assistant", "content": self.text}
        if self.tool_calls:
            message["tool_calls"] = [_as_message(call) for call in self.tool_calls]
        return message


def read_completion(answer: wire.Completion, structure: Structure | None) -> Completion[Any]:
    """Return what the kernel answered, for people."""
    logprobs = answer.get("logprobs")
    completion: Completion[Any] = Completion(
        answer["text"],
        memoryview(answer["ids"]).cast("i").tolist(),
        answer["finish_reason"],
        _read_usage(answer["usage"]),
        [ToolCall(call["id"], call["name"], call["arguments"]) for call in _calls(answer)],
        None if logprobs is None else [_read_logprob(token) for token in logprobs],
    )
    if structure is not None:
        completion.__dict__["_structure"] = structure
    return completion


def _calls(answer: wire.Completion) -> list[dict[str, Any]]:
    return answer.get("tool_calls") or []


def _read_usage(usage: wire.Usage) -> Usage:
    return Usage(
        usage["prompt_tokens"],
        usage["cached_tokens"],
        usage["completion_tokens"],
        usage["waiting_ns"] / _SECOND_NS,
        usage["prefill_ns"] / _SECOND_NS,
        usage["decode_ns"] / _SECOND_NS,
        usage["preemptions"],
        usage["model"],
        usage["version"],
    )


def _read_logprob(token: dict[str, Any]) -> TokenLogprob:
    top = [(identifier, logprob) for identifier, logprob in token.get("top", ())]
    return TokenLogprob(token["id"], token["logprob"], top)


def _as_message(call: ToolCall) -> dict[str, Any]:
    arguments = json.dumps(call.arguments, ensure_ascii=False)
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": arguments},
    }
