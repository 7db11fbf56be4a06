"""The engine of the test kit: it speaks the protocol of ipc/engine.py, and computes nothing.

Its tokens come from a ``ScriptedModel``, which the test owns; so it may be killed like any other
agent, and its requests go on in the next one. Blocks are the kernel's affair: they are accounted
for as those of a real engine, and nothing is in them.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

from actors.driver import Driver
from actors.failure import to_error
from actors.scripted_model import Script, ScriptedModel
from ext.wire import Envelope
from ipc.engine import NO_TOKEN, EngineNews, NewRequest, Plan, Prepared, Report
from ipc.errors import to_wire
from ipc.plain import decode_plain
from ipc.protocol import Flag, Kind


@dataclass(slots=True)
class _Slot:
    """A request that the engine knows."""

    number: int
    request: NewRequest
    ids: list[int]
    script: Script | None = None  # once its first token is wanted
    is_ended: bool = False

    @property
    def num_emitted(self) -> int:
        return len(self.ids) - self.request["num_prompt"]


@dataclass(slots=True)
class _Step:
    """What a step gives, as it is put together."""

    tokens: array[int] = field(default_factory=lambda: array("i"))
    texts: list[list[Any]] = field(default_factory=list)
    logprobs: list[list[Any]] = field(default_factory=list)
    ended: list[Any] = field(default_factory=list)
    failed: list[Any] = field(default_factory=list)

    def report(self, plan: int) -> Report:
        return Report(
            plan=plan,
            tokens=self.tokens.tobytes(),
            texts=self.texts,
            logprobs=self.logprobs,
            ended=self.ended,
            failed=self.failed,
            step_ns=0,
            idle_ns=0,
        )


class ScriptedEngine(Driver):
    """See the module head. model: set by the test kit, on a class of its own."""

    driver = "engine"
    model: ClassVar[ScriptedModel]

    def __init__(self, spec: dict[str, Any]) -> None:
        self.name = str(spec["name"])
        self._slots: dict[int, _Slot] = {}
        self._decoding: set[int] = set()
        self._steps: list[asyncio.TimerHandle] = []

    def linked(self) -> None:
        """A new kernel: begin with nothing."""
        for step in self._steps:
            step.cancel()
        self._steps.clear()
        self._forget_all()
        news = EngineNews(state="ready", facts=self.model.facts)
        if self.model.load_error is not None:
            news = EngineNews(state="failed", error=to_wire(self.model.load_error))
        self.post(Kind.ENGINE, news)

    def take(self, envelope: Envelope) -> None:
        """Answer a PREPARE, or carry out a plan when it is time."""
        if envelope.kind == Kind.PREPARE:
            self._prepare(envelope)
        elif envelope.kind == Kind.PLAN:
            self._run_later(decode_plain(envelope.payload))

    def _forget_all(self) -> None:
        self._slots.clear()
        self._decoding.clear()

    def _prepare(self, envelope: Envelope) -> None:
        asked = decode_plain(envelope.payload)
        if "emitted" in asked:
            text = self.model.decode(memoryview(asked["emitted"]).cast("i").tolist())
            self.post(Kind.PREPARED, Prepared(ids=b"", text=text), correlation=envelope.correlation)
            return
        try:
            ids = self.model.tokenise(asked["input"])
        except Exception as error:
            body: Any = to_wire(to_error(error, self.name, "prepare"))
            self.post(Kind.PREPARED, body, correlation=envelope.correlation, flags=Flag.FAILED)
            return
        prepared = Prepared(ids=array("i", ids).tobytes())
        self.post(Kind.PREPARED, prepared, correlation=envelope.correlation)

    # --- steps ----------------------------------------------------------------------------

    def _run_later(self, plan: Plan) -> None:
        """Steps take their time, one after the other."""
        loop, step_s = asyncio.get_running_loop(), self.model.step_s
        begins = self._steps[-1].when() if self._steps else loop.time()
        self._steps.append(loop.call_at(begins + step_s, self._run, plan))

    def _run(self, plan: Plan) -> None:
        self._steps.pop(0)
        self._change_slots(plan)
        step = _Step()
        for slot in sorted(self._decoding):
            self._sample(self._slots[slot], step)
        for slot, start, count in _groups(plan.get("prefill", b""), 3):
            if start + count == len(self._slots[slot].ids):
                self._sample(self._slots[slot], step)
        self.post(Kind.REPORT, step.report(plan["plan"]))

    def _change_slots(self, plan: Plan) -> None:
        if plan.get("reset"):
            self._forget_all()
        for (slot,) in _groups(plan.get("drop", b""), 1):
            self._slots.pop(slot, None)
            self._decoding.discard(slot)
        for request in plan.get("add", []):
            ids = memoryview(request["ids"]).cast("i").tolist()
            self._slots[request["slot"]] = _Slot(request["slot"], request, ids)
        self._decoding -= {slot for (slot,) in _groups(plan.get("decode_off", b""), 1)}
        self._decoding |= {slot for (slot,) in _groups(plan.get("decode_on", b""), 1)}

    def _sample(self, slot: _Slot, step: _Step) -> None:
        """Give a row: the next token of the slot's script."""
        if slot.is_ended:
            step.tokens.append(NO_TOKEN)
            return
        try:
            script = slot.script = slot.script or self._script(slot.request)
        except Exception as error:
            slot.is_ended = True
            step.tokens.append(NO_TOKEN)
            wire = to_wire(to_error(error, self.name, "the test's reply"))
            step.failed.append({"slot": slot.number, "error": wire})
            return
        token = script.tokens[slot.num_emitted]
        slot.ids.append(token)
        step.tokens.append(token)
        self.model.num_tokens += 1
        self._tell(slot, script, token, step)

    def _script(self, request: NewRequest) -> Script:
        prompt = request["ids"][: 4 * request["num_prompt"]]
        return self.model.script(request["request"], prompt, request["sampling"], self.name)

    def _tell(self, slot: _Slot, script: Script, token: int, step: _Step) -> None:
        """Say what a token has brought: text, its likelihood, the end."""
        number = slot.num_emitted
        if "logprobs" in slot.request["sampling"]:
            step.logprobs.append([slot.number, {"id": token, "logprob": 0.0, "top": []}])
        if slot.request["stream"]:
            before = max(slot.request["sent_chars"], self._length(script, number - 1))
            if text := script.text[before : self._length(script, number)]:
                step.texts.append([slot.number, text])
        if number == len(script.tokens):
            slot.is_ended = True
            end: dict[str, Any] = {
                "slot": slot.number,
                "reason": script.reason,
                "text": script.text,
                "tokens": number,
            }
            if script.tool_calls:
                end["tool_calls"] = script.tool_calls
            step.ended.append(end)

    def _length(self, script: Script, tokens: int) -> int:
        return len(self.model.decode(script.tokens[:tokens]))


def _groups(data: bytes, size: int) -> Iterator[tuple[int, ...]]:
    """Yield rows of so many int32 each."""
    numbers = memoryview(data).cast("i").tolist()
    for at in range(0, len(numbers), size):
        yield tuple(numbers[at : at + size])
