"""The engines of each model version: started when somebody waits for one, replaced, retired.

An engine is an actor started by the kernel, supervised like any other. A version that has no
sessions and no requests, and is not its name's newest, is retired.

An engine that fails before it was ready has a reason that another attempt would meet again (a
broken folder, a package that is missing): it is ended, and those who wait are told. One that
fails later is restarted by its supervisor, and its requests go on.
"""

from __future__ import annotations

import itertools
from typing import Any

import msgpack
from pydantic import TypeAdapter, ValidationError

from ext.kv_errors import CountError
from ext.wire import Envelope
from ipc import payload
from ipc.engine import EngineFacts
from ipc.errors import BadFrameError, BadModelError, EngineDownError, LLMOSError, from_wire
from ipc.llm import ModelInfo
from ipc.plain import decode_plain, encode_plain
from ipc.protocol import SpawnSpec
from kernel.actor_record import Status
from kernel.calls import Call
from kernel.lifecycle import Lifecycle
from kernel.llm.engines import Engine, EngineState
from kernel.llm.generation import Generation
from kernel.llm.named_policies import Policies
from kernel.llm.registry import ModelRegistry, ModelVersion
from kernel.llm.scheduler import Scheduler
from kernel.llm.sessions import LlmSessions

PROGRAMS = {
    "torch": ("actors.torch_engine.engine", "TorchEngine"),
    "remote": ("actors.remote_engine.engine", "RemoteEngine"),
}

_FACTS = TypeAdapter(EngineFacts)
_DOWN = {
    Status.STOPPED: "it was stopped by an operator; restart it",
    Status.QUARANTINED: "it has crashed too often; see its log, then restart it",
    Status.FAILED: "its program cannot be loaded; see its log",
}
MAX_LOADS = 3  # an engine may die before it is ready so often


class Fleet:
    """See the module head."""

    def __init__(
        self,
        generation: Generation,
        lifecycle: Lifecycle,
        models: ModelRegistry,
        sessions: LlmSessions,
        policies: Policies,
    ) -> None:
        self.generation = generation
        self.state = generation.state
        self.engines = generation.engines
        self.delivery = generation.answers.delivery
        self.lifecycle = lifecycle
        self.models = models
        self.sessions = sessions
        self.policies = policies
        self._loading: dict[ModelVersion, list[Call]] = {}
        self._hash_key = self.state.rng.randbytes(16)
        self._instances = 0

    # --- start --------------------------------------------------------------------------

    def want(self, model: ModelVersion) -> None:
        """Somebody waits for an engine of this version: see to it that one comes."""
        if self.state.is_shutting_down:
            return
        engines = self.engines.of_model(model)
        if not engines:
            self._spawn(model)
            return
        problem = ""
        for engine in engines:
            record = self.state.actors.get(engine.actor)
            down = _DOWN.get(record.status) if record is not None else "it is gone"
            if engine.is_draining:
                down = "it is draining; llmos resources add takes it back"
            if down is None:
                return
            problem = f"{engine.name}: {down}"
        self._give_up(model, EngineDownError(model=model.label, problem=problem))

    def load(self, model: ModelVersion, call: Call) -> bool:
        """Answer a call when an engine is ready; True if one is."""
        if any(engine.is_ready for engine in self.engines.of_model(model)):
            return True
        self._loading.setdefault(model, []).append(call)
        self.generation.table.wanted[model] = None
        return False

    def _spawn(self, model: ModelVersion) -> None:
        model.error = None
        try:
            for number in range(model.spec.get("engines", 1)):
                spec = engine_spec(model, number)
                record = self.lifecycle.spawn(spec, 0)
                self.engines.add(Engine(record.id, record.name, model))
                model.engine_actors.append(record.id)
        except LLMOSError as error:
            self._give_up(model, error)
        self.save(model)

    def start_one(self, model: ModelVersion) -> Engine:
        """Start one more engine of a version. Raises LLMOSError: it cannot be spawned."""
        spec = engine_spec(model, 0)
        base = f"engine.{model.name}.{model.version}"
        names = (base if number == 1 else f"{base}.{number}" for number in itertools.count(1))
        spec["name"] = next(name for name in names if self.state.names.find(name) is None)
        record = self.lifecycle.spawn(spec, 0)
        engine = Engine(record.id, record.name, model)
        self.engines.add(engine)
        model.engine_actors.append(record.id)
        self.save(model)
        return engine

    def save(self, model: ModelVersion) -> None:
        """Journal what is known of a version."""
        row = (msgpack.packb(model.to_row()),)
        self.state.output.changes.put("model", (model.name, model.version), row)

    def _give_up(self, model: ModelVersion, error: LLMOSError) -> None:
        for call in self._loading.pop(model, ()):
            self.delivery.answer_error(call, error)
        self.generation.table.fail_line(model, error)

    # --- what engines say ---------------------------------------------------------------

    def on_news(self, engine: Engine, envelope: Envelope) -> None:
        """An engine tells how it is."""
        news = decode_plain(envelope.payload)
        match news.get("state") if isinstance(news, dict) else None:
            case "loading":
                engine.state = EngineState.LOADING
                progress = news.get("progress", 0.0)
                engine.progress = float(progress) if isinstance(progress, (int, float)) else 0.0
            case "ready":
                self._on_ready(engine, news.get("facts"))
            case "failed":
                self._on_failed(engine, from_wire(news.get("error")))
            case state:
                raise BadFrameError(reason=f"an engine is loading, ready or failed, not {state!r}")

    def _on_ready(self, engine: Engine, facts: Any) -> None:
        try:
            engine.facts = _FACTS.validate_python(facts)
        except ValidationError as error:
            raise BadFrameError(reason=f"facts of an engine: {error.errors()[0]}") from None
        if engine.is_ready:  # it begins anew: so must its requests
            engine.state = EngineState.STARTING
            self.generation.take_back(engine, is_dead=False)
        if engine.facts.get("block_size", 0):
            try:
                engine.scheduler = self._scheduler(engine)
            except (MemoryError, CountError) as error:
                # Another attempt, or another kernel that adopts it, would meet the same.
                self._cannot_load(engine, _too_large(engine, error))
                return
        engine.state, engine.progress, engine.failed_loads = EngineState.READY, 1.0, 0
        engine.model.error = None
        self.state.counters.add("engines_ready")
        for call in self._loading.pop(engine.model, ()):
            self.delivery.answer(call, encode_plain(self.describe(engine.model)))
        self.generation.drain_line(engine)
        self.generation.remote.dirty[engine.model] = None

    def _scheduler(self, engine: Engine) -> Scheduler:
        self._instances = self._instances % 8191 + 1
        return Scheduler(
            engine.facts,
            hash_key=self._hash_key,
            policy=self.policies(),
            instance=self._instances,
            max_waiting=self.state.config.llm_waiting,
            model=engine.model.label,
            eviction=self.state.config.kv_eviction,
            admission=self.state.config.llm_admission,
            plans_ahead=self.state.config.llm_plans_ahead,
        )

    def _on_failed(self, engine: Engine, error: LLMOSError) -> None:
        self.state.counters.add("engines_failed")
        if engine.is_ready:
            self.state.crashed[engine.actor] = f"the engine failed: {error}"
        elif engine.state is not EngineState.FAILED:
            self._cannot_load(engine, error)

    def _cannot_load(self, engine: Engine, error: LLMOSError) -> None:
        """Tell those who wait; the next request will try again."""
        engine.state = EngineState.FAILED
        engine.model.error = {"code": error.code, "fields": error.fields}
        self.state.doomed[engine.actor] = f"the engine cannot load its model: {error}"
        if not any(other.state is not EngineState.FAILED for other in self._others(engine)):
            self._give_up(engine.model, error)

    def _others(self, engine: Engine) -> list[Engine]:
        return [other for other in self.engines.of_model(engine.model) if other is not engine]

    def broken(self, engine: Engine, error: LLMOSError) -> None:
        """An engine breaks the contract: replace its process."""
        self.state.counters.add("engines_broken")
        self.state.crashed[engine.actor] = f"it broke the engines' protocol: {error}"

    # --- ends ---------------------------------------------------------------------------

    def on_lost(self, actor: int, error: LLMOSError | None = None) -> None:
        """An engine's process is gone. error: why its program could not be loaded."""
        engine = self.engines.get(actor)
        if engine is None:
            return
        was_ready, has_failed = engine.is_ready, engine.state is EngineState.FAILED
        engine.state, engine.progress = EngineState.STARTING, 0.0
        is_gone = actor not in self.state.actors
        if is_gone:
            self._forget(engine)
        self.generation.take_back(engine, is_dead=True)
        engine.failed_loads = 0 if was_ready else engine.failed_loads + 1
        is_hopeless = is_gone or engine.failed_loads >= MAX_LOADS
        if is_hopeless and not was_ready and not has_failed:  # else it has said itself why
            problem = f"{engine.name} ended before it was ready; see its log"
            self._cannot_load(
                engine, error or EngineDownError(model=engine.model.label, problem=problem)
            )
        self.generation.remote.dirty[engine.model] = None
        self.generation.table.wanted[engine.model] = None

    def _forget(self, engine: Engine) -> None:
        self.engines.remove(engine)
        if engine.actor in engine.model.engine_actors:
            engine.model.engine_actors.remove(engine.actor)
            self.save(engine.model)

    def retire(self, model: ModelVersion) -> None:
        """End the engines of a version that nobody can reach any more."""
        if self.is_used(model) or (self.models.is_newest(model) and not model.is_removed):
            return
        for engine in self.engines.of_model(model):
            self.state.doomed[engine.actor] = f"{model.label} is not in use any more"

    def is_idle(self, model: ModelVersion) -> bool:
        """Say whether nobody waits for an engine of this version."""
        queue = self.generation.remote.queues.get(model)
        return not (self._loading.get(model) or (queue is not None and len(queue)))

    def is_used(self, model: ModelVersion) -> bool:
        """Say whether a version has sessions or requests."""
        return bool(self.sessions.of_model(model)) or any(
            job.model is model for job in self.generation.jobs.values()
        )

    def describe(self, model: ModelVersion) -> ModelInfo:
        """Return what ``llmos model ls`` shows."""
        engines = self.engines.of_model(model)
        ready = [engine for engine in engines if engine.is_ready]
        state = "ready" if ready else "loading" if engines else "failed" if model.error else "idle"
        info = ModelInfo(
            name=model.name,
            version=model.version,
            kind=model.kind,  # type: ignore[typeddict-item]
            location=model.location,
            is_default=model is self._default(),
            state=state,
            engines=len(ready),
            sessions=len(self.sessions.of_model(model)),
            served=self.generation.answers.served.of(model.name, model.version),
            facts=dict(ready[0].facts) if ready else {},
            error=model.error,
        )
        if state == "loading":
            info["facts"] = {"progress": max(engine.progress for engine in engines)}
        return info

    def _default(self) -> ModelVersion | None:
        try:
            return self.models.default()
        except LLMOSError:
            return None


def _too_large(engine: Engine, error: Exception) -> BadModelError:
    """Return the error of a model whose blocks the kernel cannot keep account of."""
    said = {name: engine.facts.get(name) for name in ("max_context", "num_blocks", "max_running")}
    named = ", ".join(f"{name} {value}" for name, value in said.items())
    problem = (
        f"the kernel cannot keep account of its blocks ({named}): {error}; "
        "add it with a smaller --max-context, --kv-mib or --max-running"
    )
    return BadModelError(model=engine.model.name, location=engine.model.location, problem=problem)


def engine_spec(model: ModelVersion, number: int) -> SpawnSpec:
    """Return how to spawn an engine of a version."""
    path: str | None = None
    module: str | None
    if model.kind == "driver":
        module, _, qualname = model.spec["driver"].rpartition(":")
        if module.endswith(".py"):
            path, module = module, None
    else:
        module, qualname = PROGRAMS[model.kind]
    name = f"engine.{model.name}.{model.version}"
    threads = model.spec.get("threads", 0)
    return SpawnSpec(
        target=f"{path or module}:{qualname}",
        path=path,
        module=module,
        qualname=qualname,
        sys_path=[],
        arguments=payload.encode([[dict(model.spec)], {}]).data,
        name=name if model.spec.get("engines", 1) == 1 else f"{name}.{number + 1}",
        restart="permanent",
        environment={"OMP_NUM_THREADS": str(threads)} if threads else {},
    )
