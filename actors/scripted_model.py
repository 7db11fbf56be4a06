"""A language model whose answers a test says beforehand: ``kernel.llm`` of the test kit.

    kernel.llm.reply("billing")                       # each completion from now on
    kernel.llm.reply("billing", "refund")             # the next, then all others
    kernel.llm.reply_with(lambda request: request.prompt.upper())
    assert kernel.llm.requests[0].messages[-1]["content"] == "my bill is wrong"

A token is a word with the space before it. Sampling is not imitated, but for what ends a text:
``max_tokens``, ``stop``, ``ignore_stop_ids``; a schema is not enforced, the test says what
comes. A request is answered once, however often it is resumed: ``requests`` has it once.

What it is not: the engine that speaks with the kernel (actors/scripted_engine.py).
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import Any, Literal

from ipc.engine import EngineFacts
from ipc.errors import UsageError
from ipc.llm import LlmInput, Sampling

END = 0  # the stop token; only an empty text comes to it
_TOKEN = re.compile(r"\s?\w+|\s?[^\w\s]|\s")


@dataclass(frozen=True, slots=True)
class ScriptedRequest:
    """What a model was asked. prompt: the whole text, a chat's as the engine renders it."""

    prompt: str
    messages: list[dict[str, Any]]  # of a chat, all so far; else empty
    tools: list[dict[str, Any]]
    sampling: Sampling
    model: str


@dataclass(frozen=True, slots=True)
class ScriptedReply:
    """What it answers, where a text alone does not say it."""

    text: str = ""
    tool_calls: list[dict[str, Any]] = field(default_factory=list)  # {"name", "arguments"}


@dataclass(frozen=True, slots=True)
class Script:
    """How one completion goes: token by token, and what it comes to."""

    tokens: list[int]
    text: str
    reason: Literal["stop", "length", "tool_calls"]
    tool_calls: list[dict[str, Any]]


Reply = Callable[[ScriptedRequest], str | ScriptedReply]


class ScriptedModel:
    """See the module head. step_s: virtual seconds that each step of an engine takes."""

    def __init__(self) -> None:
        self.requests: list[ScriptedRequest] = []
        self.num_tokens = 0  # computed in all, those of dropped steps too
        self.step_s = 0.0
        self.facts = EngineFacts(
            architecture="scripted",
            parameters=0,
            weight_bytes=0,
            dtype="float32",
            device="cpu",
            vocab_size=1 << 30,
            max_context=8192,
            block_size=16,
            num_blocks=4096,
            num_host_blocks=0,
            block_bytes=16,
            max_running=64,
            max_step_tokens=2048,
            recompute_ns_per_token=1000.0,
            swap_ns_per_block=1000.0,
            stop_ids=[END],
            load_s=0.0,
        )
        self._reply: Reply = _nothing_said
        self._pieces = [""]
        self._ids = {"": END}
        self._inputs: dict[bytes, LlmInput] = {}  # chats, by the ids they came to
        self._scripts: dict[int, Script] = {}

    # --- what tests say -------------------------------------------------------------------

    def reply(self, *texts: str) -> None:
        """Answer the next completions with these texts, one each; the last one stays."""
        if not texts:
            raise UsageError(reason="say at least one text")
        left = list(texts)
        self.reply_with(lambda _: left.pop(0) if len(left) > 1 else left[0])

    def reply_with(self, function: Reply) -> None:
        """Answer each completion with what the function makes of it; it may raise."""
        self._reply = function

    # --- tokens ---------------------------------------------------------------------------

    def tokenise(self, given: LlmInput) -> list[int]:
        """Return the ids of an input."""
        if "ids" in given:
            return memoryview(given["ids"]).cast("i").tolist()
        if "messages" not in given:
            return self.encode(given["prompt"])
        ids = self.encode(_render(given["messages"]))
        self._inputs[array("i", ids).tobytes()] = given
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids; those of a test's own are shown as numbers."""
        known = len(self._pieces)
        return "".join(self._pieces[one] if 0 <= one < known else f"<{one}>" for one in ids)

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text."""
        return [self._id(piece) for piece in _TOKEN.findall(text)]

    def _id(self, piece: str) -> int:
        identifier = self._ids.get(piece)
        if identifier is None:
            identifier = self._ids[piece] = len(self._pieces)
            self._pieces.append(piece)
        return identifier

    # --- answers --------------------------------------------------------------------------

    def script(self, request: int, prompt: bytes, sampling: Sampling, model: str) -> Script:
        """Return how a request goes, the same each time. Raises what the test's function does."""
        known = self._scripts.get(request)
        if known is None:
            given = self._inputs.get(prompt, LlmInput())
            asked = ScriptedRequest(
                self.decode(memoryview(prompt).cast("i").tolist()),
                list(given.get("messages", [])),
                list(given.get("tools", [])),
                sampling,
                model,
            )
            self.requests.append(asked)
            known = self._scripts[request] = self._write(self._reply(asked), sampling)
        return known

    def _write(self, reply: str | ScriptedReply, sampling: Sampling) -> Script:
        said = ScriptedReply(reply) if isinstance(reply, str) else reply
        ids = self.encode(said.text) or [END]
        most = sampling["max_tokens"]
        if sampling.get("ignore_stop_ids"):
            ids = list(islice(cycle(ids), most))
        for length in range(1, min(len(ids), most) + 1):
            text = self.decode(ids[:length])
            found = [text.find(stop) for stop in sampling.get("stop", []) if stop in text]
            if found:
                return Script(ids[:length], text[: min(found)], "stop", [])
        if len(ids) > most or sampling.get("ignore_stop_ids"):
            return Script(ids[:most], self.decode(ids[:most]), "length", [])
        calls = [{"id": f"call_{at}", **call} for at, call in enumerate(said.tool_calls)]
        return Script(ids, said.text, "tool_calls" if calls else "stop", calls)


def _render(messages: Sequence[dict[str, Any]]) -> str:
    lines = [f"{message['role']}: {message.get('content') or ''}\n" for message in messages]
    return "".join([*lines, "assistant:"])


def _nothing_said(_: ScriptedRequest) -> str:
    raise UsageError(reason="say what the model answers: kernel.llm.reply(...)")
