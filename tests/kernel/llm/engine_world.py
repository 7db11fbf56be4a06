"""A core with a scripted engine: it computes pretend completions, and keeps to ipc/engine.py.

Tokens of a text are its UTF-8 bytes. The next token depends on all before it, so a request that
was resumed wrongly ends with another text. Stepping is up to the test.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ext.wire import Envelope
from ipc.engine import EngineFacts
from ipc.errors import BadPromptError
from ipc.plain import decode_plain, encode_plain
from ipc.protocol import Flag, Kind
from tests.kernel.world import ScriptedAgent, ScriptedClient, World, body

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


def completion_of(prompt: bytes, count: int) -> str:
    """Return what the scripted engine completes a prompt with."""
    ids = list(prompt)
    for _ in range(count):
        ids.append(next_token(ids))
    return bytes(ids[len(prompt) :]).decode()


def next_token(ids: list[int]) -> int:
    return 97 + (sum(ids) * 31 + len(ids)) % 26


class ScriptedEngine:
    """What one incarnation of an engine knows; drive it with ``step`` or ``run``."""

    def __init__(self, world: World, agent: ScriptedAgent) -> None:
        self.world = world
        self.agent = agent
        self.slots: dict[int, dict[str, Any]] = {}
        self.decoding: set[int] = set()
        self.num_seen = 0
        self.plans: list[dict[str, Any]] = []
        self.computed_tokens = 0

    def say(self, kind: Kind, value: Any, **fields: Any) -> None:
        self.agent.send(Envelope(kind, self.agent.id, 0, encode_plain(value), **fields))

    def ready(self, **facts: Any) -> None:
        """Begin with nothing: what an earlier kernel has said is void."""
        self.news()
        self.plans.clear()
        self.say(Kind.ENGINE, {"state": "ready", "facts": {**FACTS, **facts}})

    def news(self) -> list[Envelope]:
        found = self.agent.got[self.num_seen :]
        self.num_seen = len(self.agent.got)
        return [envelope for envelope in found if envelope.kind >= Kind.ENGINE]

    def listen(self) -> None:
        """Prepare what is to be prepared, and put plans aside."""
        while news := self.news():
            for envelope in news:
                if envelope.kind == Kind.PREPARE:
                    self._prepare(envelope)
                elif envelope.kind == Kind.PLAN:
                    self.plans.append(decode_plain(envelope.payload))

    def _prepare(self, envelope: Envelope) -> None:
        given = decode_plain(envelope.payload)["input"]
        if "messages" in given:
            text = "".join(f"<{m['role']}>{m['content']}" for m in given["messages"])
        else:
            text = given.get("prompt", "")
        ids = np.array(list(text.encode()), np.int32).tobytes() or given.get("ids", b"")
        if text == "refused":
            error = BadPromptError(problem="the template refuses it")
            refusal = {"code": error.code, "fields": error.fields}
            self.say(Kind.PREPARED, refusal, correlation=envelope.correlation, flags=Flag.FAILED)
        else:
            self.say(Kind.PREPARED, {"ids": ids}, correlation=envelope.correlation)

    def step(self) -> bool:
        """Carry out the next plan and report; False if there is none."""
        self.listen()
        if not self.plans:
            return False
        self.say(Kind.REPORT, self.carry_out(self.plans.pop(0)))
        return True

    def run(self) -> None:
        """Go on until there is nothing to do."""
        while self.step():
            pass

    def carry_out(self, plan: dict[str, Any]) -> dict[str, Any]:
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
    return np.frombuffer(plan.get(key, b""), np.int32).tolist()


class EngineWorld(World):
    """A world with a model ``m`` whose engines are scripted."""

    def __init__(self, **config: Any) -> None:
        super().__init__(**config)
        for number in range(1, 4):
            self.declares[f"engine.m.{number}"] = {"driver": "engine"}
            self.declares[f"engine.m.1.{number}"] = {"driver": "engine"}
        self.engines: dict[tuple[int, int], ScriptedEngine] = {}

    def add_model(self, **spec: Any) -> Any:
        spec = {"name": "m", "driver": "tests:Engine"} | spec
        info = self.client.system("model_add", spec=spec)
        self.client.system("model_use", name=spec["name"])
        return info

    def engine(self, name: str = "engine.m.1") -> ScriptedEngine:
        """Return the present incarnation of an engine."""
        identifier = self.core.state.names.find(name)
        assert identifier is not None, f"there is no {name}"
        agent = self.agents[identifier]
        key = (identifier, agent.incarnation)
        if key not in self.engines:
            self.engines[key] = ScriptedEngine(self, agent)
        return self.engines[key]

    def generate(self, peer: ScriptedClient, prompt: str, count: int = 5, **more: Any) -> int:
        """Ask for a completion; returns the correlation."""
        flags = more.pop("flags", 0)
        fields = {key: more.pop(key) for key in ("deadline", "priority") if key in more}
        arguments = {"sampling": {"max_tokens": count}} | more
        if prompt:
            arguments["input"] = {"prompt": prompt}
        correlation = peer.next_correlation()
        payload = body("llm_generate", **arguments)
        envelope = Envelope(Kind.ASK, peer.id, 0, payload, correlation=correlation, flags=flags)
        for key, value in fields.items():
            setattr(envelope, key, value)
        peer.send(envelope)
        return correlation
