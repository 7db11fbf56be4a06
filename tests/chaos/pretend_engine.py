"""An engine that computes nothing: its next token depends on all tokens before it.

So a request that was resumed wrongly ends with another text. It keeps to ipc/engine.py, starts in
no time, and is loaded as a file by the kernel's zygote: it imports nothing of the tests.
"""

from __future__ import annotations

import time
from typing import Any, ClassVar, Literal

import numpy as np

from actors.driver import Driver
from ext.wire import Envelope
from ipc.engine import EngineFacts
from ipc.plain import decode_plain
from ipc.protocol import Kind

FACTS = EngineFacts(
    block_size=4,
    num_blocks=256,
    num_host_blocks=0,
    max_running=16,
    max_step_tokens=64,
    max_context=512,
    vocab_size=256,
    recompute_ns_per_token=1000.0,
    swap_ns_per_block=1000.0,
    block_bytes=64,
)
STEP_S = 0.002


def next_token(ids: list[int]) -> int:
    return 97 + (sum(ids) * 31 + len(ids)) % 26


def completion_of(prompt: bytes, count: int) -> str:
    """Return what the engine completes a prompt with."""
    ids = list(prompt)
    for _ in range(count):
        ids.append(next_token(ids))
    return bytes(ids[len(prompt) :]).decode()


def tokens_of(given: dict[str, Any]) -> bytes:
    """Return the ids of an input: the UTF-8 bytes of its text."""
    if "ids" in given:
        return bytes(given["ids"])
    text = given.get("prompt", "")
    for message in given.get("messages", ()):
        text += f"<{message['role']}>{message['content']}"
    return np.array(list(text.encode()), np.int32).tobytes()


def prepared(asked: dict[str, Any]) -> dict[str, Any]:
    """Return the answer to a PREPARE: ids of an input, or the text of emitted ids."""
    if "emitted" in asked:
        return {"ids": b"", "text": bytes(np.frombuffer(asked["emitted"], "<i4").tolist()).decode()}
    return {"ids": tokens_of(asked["input"])}


class PretendModel:
    """The requests that an engine knows, and what a plan does to them."""

    def __init__(self) -> None:
        self.slots: dict[int, dict[str, Any]] = {}
        self.decoding: set[int] = set()
        self.computed_tokens = 0

    def carry_out(self, plan: dict[str, Any]) -> dict[str, Any]:
        """Return the report."""
        if plan.get("reset"):
            self.slots, self.decoding = {}, set()
        for slot in ints(plan, "drop"):
            self.slots.pop(slot, None)
            self.decoding.discard(slot)
        for new in plan.get("add", []):
            ids = np.frombuffer(new["ids"], np.int32).tolist()
            self.slots[new["slot"]] = {**new, "ids": ids, "ended": False}
        self.decoding -= set(ints(plan, "decode_off"))
        self.decoding |= set(ints(plan, "decode_on"))
        rows = sorted(self.decoding)
        self.computed_tokens += len(rows)
        for slot, start, count in np.array(ints(plan, "prefill")).reshape(-1, 3).tolist():
            self.computed_tokens += count
            if start + count == len(self.slots[slot]["ids"]):
                rows.append(slot)
        report: dict[str, Any] = {"plan": plan["plan"], "texts": [], "ended": [], "step_ns": 1}
        tokens = [self._sample(slot, report) for slot in rows]
        report["tokens"] = np.array(tokens, np.int32).tobytes()
        return report

    def _sample(self, slot: int, report: dict[str, Any]) -> int:
        request = self.slots[slot]
        if request["ended"]:
            return -1
        token = next_token(request["ids"])
        request["ids"].append(token)
        emitted = request["ids"][request["num_prompt"] :]
        if len(emitted) >= request["sampling"]["max_tokens"]:
            request["ended"] = True
            text = bytes(emitted).decode()
            ended = {"slot": slot, "reason": "length", "text": text, "tokens": len(emitted)}
            report["ended"].append(ended)
        elif request["stream"]:
            report["texts"].append([slot, chr(token)])
        return token


def ints(plan: dict[str, Any], key: str) -> list[int]:
    found: list[int] = np.frombuffer(plan.get(key, b""), np.int32).tolist()
    return found


class PretendEngine(Driver):
    """The driver around it."""

    driver: ClassVar[Literal["engine"]] = "engine"

    def __init__(self, spec: dict[str, Any]) -> None:
        self.model = PretendModel()

    def linked(self) -> None:
        self.post(Kind.ENGINE, {"state": "ready", "facts": FACTS})

    def take(self, envelope: Envelope) -> None:
        body = decode_plain(envelope.payload)
        if envelope.kind == Kind.PREPARE:
            self.post(Kind.PREPARED, prepared(body), correlation=envelope.correlation)
        elif envelope.kind == Kind.PLAN:
            time.sleep(STEP_S)  # so that a kill finds it at work
            self.post(Kind.REPORT, self.model.carry_out(body))
