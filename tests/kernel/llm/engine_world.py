"""A core with a scripted engine: it computes pretend completions, and keeps to ipc/engine.py.

What it computes is tests/chaos/pretend_engine.py. Stepping is up to the test.
"""

from __future__ import annotations

from typing import Any

from ext.wire import Envelope
from ipc.errors import BadPromptError
from ipc.plain import decode_plain, encode_plain
from ipc.protocol import Flag, Kind
from tests.chaos.pretend_engine import FACTS, PretendModel, completion_of, prepared
from tests.kernel.world import ScriptedAgent, ScriptedClient, World, body

__all__ = ["EngineWorld", "ScriptedEngine", "completion_of"]


class ScriptedEngine:
    """What one incarnation of an engine knows; drive it with ``step`` or ``run``."""

    def __init__(self, world: World, agent: ScriptedAgent) -> None:
        self.world = world
        self.agent = agent
        self.model = PretendModel()
        self.num_seen = 0
        self.plans: list[dict[str, Any]] = []

    @property
    def computed_tokens(self) -> int:
        return self.model.computed_tokens

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
        asked = decode_plain(envelope.payload)
        if asked.get("input", {}).get("prompt") == "refused":
            error = BadPromptError(problem="the template refuses it")
            refusal = {"code": error.code, "fields": error.fields}
            self.say(Kind.PREPARED, refusal, correlation=envelope.correlation, flags=Flag.FAILED)
        else:
            self.say(Kind.PREPARED, prepared(asked), correlation=envelope.correlation)

    def step(self) -> bool:
        """Carry out the next plan and report; False if there is none."""
        self.listen()
        if not self.plans:
            return False
        self.say(Kind.REPORT, self.model.carry_out(self.plans.pop(0)))
        return True

    def run(self) -> None:
        """Go on until there is nothing to do."""
        while self.step():
            pass


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
