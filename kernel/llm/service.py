"""LLM work's door to the core: its system calls, what engines send, the end of a loop turn.

The composer of kernel/llm: it makes the parts, and nothing else of the core looks past it.
`Core.finish` calls ``settle`` until nothing is left, then ``plan``.

Cost: O(1) a call; nothing while there is no LLM work.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgpack

from ext.wire import Envelope
from ipc.errors import BadFrameError, ModelInUseError, UnknownCallError, UsageError
from ipc.llm import LlmInput, LlmStatus, ModelInfo, Sampling
from ipc.protocol import DEFAULT_PRIORITY, Kind
from kernel.actor_record import ActorRecord
from kernel.calls import Call
from kernel.lifecycle import Lifecycle
from kernel.llm.answers import Answers
from kernel.llm.arguments import read_input, read_model_spec, read_request
from kernel.llm.engines import Engine, Engines
from kernel.llm.fleet import Fleet
from kernel.llm.generation import Generation
from kernel.llm.handover import LlmHandover
from kernel.llm.job import Job, Purpose
from kernel.llm.named_policies import NamedPolicies
from kernel.llm.placement import Placement
from kernel.llm.recorder import Recorder
from kernel.llm.registry import ModelRegistry, ModelVersion
from kernel.llm.remote import RemoteQueues
from kernel.llm.remote_calls import RemoteCalls
from kernel.llm.session_calls import SessionCalls
from kernel.llm.sessions import LlmSession, LlmSessions
from kernel.llm.status import describe_engines, describe_owners
from kernel.llm.steps import Steps
from kernel.llm.token_log import Saved, TokenLog
from kernel.policy.balance_names import BALANCERS
from kernel.records import Snapshot
from kernel.sending import Sending
from kernel.state import Peer

CallHandler = Callable[[Peer, Call, dict[str, Any]], Any]


class LlmService:
    """See the module head. deferred: what a call returns that is answered later."""

    def __init__(
        self, sending: Sending, lifecycle: Lifecycle, policies: NamedPolicies, deferred: object
    ) -> None:
        self.sending = sending
        self.state = sending.state
        self.deferred = deferred
        self.policies = policies
        self.models = ModelRegistry()
        self.sessions = LlmSessions()
        self.engines = Engines()
        self.log = TokenLog(lambda: self.state.output.changes, self.state.new_id)
        self.recorder = Recorder(self.state)
        self.generation = Generation(
            Answers(sending.streams, self.recorder),
            self.engines,
            self.log,
            RemoteQueues(self.state),
            Placement(self._placement(), self.state.new_rng()),
        )
        self.steps = Steps(self.generation.table, self.generation.completions)
        self.remote_calls = RemoteCalls(self.generation)
        self.fleet = Fleet(self.generation, lifecycle, self.models, self.sessions, policies)
        self.session_calls = SessionCalls(self.generation, self.models, self.sessions, self.fleet)
        self.handover = LlmHandover(self.generation, self.sessions)
        self._saved: dict[int, Saved] = {}

    def calls(self) -> dict[str, tuple[CallHandler, bool]]:
        """Return the system calls: name to (function, agents may make it)."""
        return {
            "llm_generate": (self.generate, True),
            "llm_count": (self.count, True),
            "llm_append": (self.append, True),
            "llm_session": (self.session_calls.open, True),
            "llm_fork": (self.session_calls.fork, True),
            "llm_pin": (self.session_calls.pin, True),
            "llm_close": (self.session_calls.close, True),
            "models": (self.list_models, True),
            "model_add": (self.add_model, False),
            "model_remove": (self.remove_model, False),
            "model_use": (self.use_model, False),
            "model_load": (self.load_model, False),
            "llm_status": (self.status, False),
            **self.recorder.calls(),
        }

    # --- requests -----------------------------------------------------------------------

    def generate(self, peer: Peer, call: Call, arguments: dict[str, Any]) -> object:
        """Compute a completion; answered when it is there."""
        saved = self._saved.get(call.id)
        if saved is None:
            self.sending.check_storage()
        request = read_request(arguments)
        session = self._session_of(peer, request.get("session"))
        model = self._model_of(session, request.get("model"), saved)
        job = self._job(call, Purpose.GENERATE, model, request.get("input"), session)
        job.sampling = request["sampling"]
        job.call_site = request.get("call_site", "")
        job.retries_doubt = request.get("on_doubt") == "retry"
        self.generation.begin(job, saved)
        return self.deferred

    def count(self, peer: Peer, call: Call, arguments: dict[str, Any]) -> object:
        """Count the tokens of an input; answered when an engine has."""
        given = read_input(arguments.get("input"))
        model = self.models.resolve(arguments.get("model"))
        if model.kind == "remote":
            reason = f"only the endpoint of {model.label} can count its tokens, and only by use"
            raise UsageError(reason=reason)
        self.generation.begin(self._job(call, Purpose.COUNT, model, given, None))
        return self.deferred

    def append(self, peer: Peer, call: Call, arguments: dict[str, Any]) -> object:
        """Let a session hold further input; answered when an engine has counted it."""
        given = read_input(arguments.get("input"))
        session = self.sessions.find(peer.id, arguments["session"])
        self.generation.begin(self._job(call, Purpose.APPEND, session.model, given, session))
        return self.deferred

    def _session_of(self, peer: Peer, identifier: int | None) -> LlmSession | None:
        return None if identifier is None else self.sessions.find(peer.id, identifier)

    def _model_of(
        self, session: LlmSession | None, name: str | None, saved: Saved | None
    ) -> ModelVersion:
        if saved is not None:
            return self.models.resolve("{}@{}".format(*saved.facts["model"]))
        if session is None:
            return self.models.resolve(name)
        if name not in (None, session.model.name, session.model.label):
            problem = f"the session is on {session.model.label}; it stays there"
            raise UnknownCallError(call="llm_generate", problem=f"model={name!r}: {problem}")
        return session.model

    def _job(
        self,
        call: Call,
        purpose: Purpose,
        model: ModelVersion,
        given: LlmInput | None,
        session: LlmSession | None,
    ) -> Job:
        return Job(
            call=call,
            purpose=purpose,
            model=model,
            given=given,
            sampling=Sampling(),
            session=session,
            priority=self._urgency_of(call),
            accepted_ns=self.state.now_ns,
            parents=self.state.calls.finished_of(call.turn, is_to_kernel=True),
        )

    def _urgency_of(self, call: Call) -> int:
        """Return the call's priority, or a more urgent one that its turn has inherited."""
        own = call.request.priority if call.request is not None else DEFAULT_PRIORITY
        return self.state.urgency.of_call(own, call.turn)

    # --- models -------------------------------------------------------------------------

    def list_models(self, peer: Peer, call: Call, arguments: dict[str, Any]) -> list[ModelInfo]:
        """Return all models."""
        return [self.fleet.describe(model) for model in self.models]

    def add_model(self, peer: Peer, call: Call, arguments: dict[str, Any]) -> ModelInfo:
        """Make a model, or the next version of one."""
        model = self.models.add(read_model_spec(arguments.get("spec")))
        for other in self.models:
            if other.name == model.name:
                self.fleet.save(other)
                self.fleet.retire(other)
        return self.fleet.describe(model)

    def remove_model(self, peer: Peer, call: Call, arguments: dict[str, Any]) -> dict[str, Any]:
        """Forget a model, or one version of it. Raises ModelInUseError."""
        for model in self._named(arguments):
            if self.fleet.is_used(model):
                sessions = len(self.sessions.of_model(model))
                users = f"{sessions} sessions, {len(self.generation.jobs)} requests in all"
                raise ModelInUseError(model=model.label, users=users)
        for model in self._named(arguments):
            for changed in self.models.remove(model):
                self.fleet.save(changed)
            self.fleet.retire(model)
        return {}

    def _named(self, arguments: dict[str, Any]) -> list[ModelVersion]:
        name, version = str(arguments["name"]), arguments.get("version")
        if version is not None or "@" in name:
            return [self.models.resolve(name if version is None else f"{name}@{version}")]
        self.models.resolve(name)
        return [model for model in self.models if model.name == name]

    def use_model(self, peer: Peer, call: Call, arguments: dict[str, Any]) -> ModelInfo:
        """Let requests that name no model go to this one."""
        model = self._one(arguments)
        for changed in self.models.use(model):
            self.fleet.save(changed)
        return self.fleet.describe(model)

    def load_model(self, peer: Peer, call: Call, arguments: dict[str, Any]) -> object:
        """Start a model's engines; answered when one is ready."""
        model = self._one(arguments)
        return self.fleet.describe(model) if self.fleet.load(model, call) else self.deferred

    def _one(self, arguments: dict[str, Any]) -> ModelVersion:
        name, version = arguments.get("name"), arguments.get("version")
        return self.models.resolve(name if version is None else f"{name}@{version}")

    def status(self, peer: Peer, call: Call, arguments: dict[str, Any]) -> LlmStatus:
        """Return what ``llmos top`` shows."""
        return LlmStatus(
            engines=describe_engines(self.generation),
            owners=describe_owners(self.generation),
        )

    # --- policy -------------------------------------------------------------------------

    def _placement(self) -> str:
        """Return the policy of placement that was set, or else the configured one."""
        configured = self.state.config.llm_placement
        chosen = self.state.settings.get("llm_placement") or configured
        return chosen if chosen in BALANCERS else configured

    def use_policy(self, name: str) -> None:
        """Order requests by another policy from the next plans on. Raises UnknownPolicyError."""
        self.policies.use(name, self.state.now_ns)
        for engine in self.engines:
            self.generation.table.dirty[engine.actor] = engine

    def num_waiting(self) -> int:
        """Return how many requests wait for an engine to compute them."""
        return sum(
            engine.scheduler.statistics().waiting
            for engine in self.engines
            if engine.scheduler is not None
        )

    # --- engines ------------------------------------------------------------------------

    def on_engine(self, record: ActorRecord, envelope: Envelope) -> None:
        """Take an envelope of the engines' kinds."""
        engine = self.engines.get(record.id)
        if engine is None:
            self.state.counters.add("frames_unexpected")
            return
        try:
            self._dispatch(engine, envelope)
        except BadFrameError as error:
            self.fleet.broken(engine, error)
        except (TypeError, KeyError, ValueError, AttributeError, OverflowError) as error:
            self.fleet.broken(engine, BadFrameError(reason=repr(error)))

    def _dispatch(self, engine: Engine, envelope: Envelope) -> None:
        match envelope.kind:
            case Kind.REPORT:
                self.steps.on_report(engine, envelope)
            case Kind.PREPARED:
                self.generation.on_prepared(engine, envelope)
            case Kind.PIECE:
                self.remote_calls.on_piece(engine, envelope)
            case Kind.DONE:
                self.remote_calls.on_done(engine, envelope)
            case Kind.ENGINE:
                self.fleet.on_news(engine, envelope)

    # --- the end of a loop turn -----------------------------------------------------------

    @property
    def is_unsettled(self) -> bool:
        """Say whether ``settle`` has something to do."""
        return self.state.llm.is_due or bool(self.generation.table.wanted)

    def settle(self) -> None:
        """Draw the consequences of what has ended elsewhere in the core."""
        todo = self.state.llm
        todo.is_due = False
        lost, todo.lost_processes = todo.lost_processes, []
        for actor in lost:
            self.fleet.on_lost(actor, todo.not_loaded.pop(actor, None))
        self.handover.settle()
        self.session_calls.settle()
        gone, todo.departed = todo.departed, []
        for owner in gone:
            self._forget_owner(owner)
        budgeted, todo.budgeted = todo.budgeted, []
        if budgeted:
            self.generation.meter_anew(set(budgeted))
        ended, todo.ended_calls = todo.ended_calls, []
        for call in ended:
            self.generation.table.cancel(call)
        raised, todo.raised = todo.raised, {}
        for call, priority in raised.items():
            self.generation.raise_priority(call, priority)
        table = self.generation.table
        wanted, table.wanted = table.wanted, {}
        for model in wanted:
            if self.engines.line(model) or not self.fleet.is_idle(model):
                self.fleet.want(model)

    def _forget_owner(self, owner: int) -> None:
        for engine in self.engines:
            if engine.scheduler is not None:
                engine.scheduler.remove_owner(owner)

    def plan(self) -> None:
        """Give engines their next steps, and endpoints their next calls."""
        remote, table = self.generation.remote, self.generation.table
        while remote.dirty:
            model = next(iter(remote.dirty))
            del remote.dirty[model]
            self.remote_calls.pump(model)
        if table.dirty:
            dirty, table.dirty = table.dirty, {}
            for engine in dirty.values():
                self.steps.plan(engine)

    def on_due(self, label: Any) -> None:
        """Time may have let a remote call through."""
        model = self.models.resolve(str(label))
        self.generation.remote.dirty[model] = None

    def tick(self) -> None:
        """Once a second: let pins expire."""
        for engine in self.engines:
            if engine.scheduler is not None:
                engine.scheduler.expire(self.state.now_ns)
                self.generation.pins.settle(engine.scheduler)

    # --- recovery -----------------------------------------------------------------------

    def load(self, rows: Snapshot) -> None:
        """Take models, sessions and unfinished requests; the calls themselves come later."""
        for (name, version), (blob,) in sorted(rows.get("model", {}).items()):
            self.models.load(name, version, msgpack.unpackb(blob))
        for model in self.models.all_versions():
            for actor in list(model.engine_actors):
                record = self.state.actors.get(actor)
                if record is None:
                    model.engine_actors.remove(actor)
                else:
                    self.engines.add(Engine(actor, record.name, model))
        self.generation.answers.served.load(rows)
        models = {(model.name, model.version): model for model in self.models.all_versions()}
        self.generation.remote.load(rows.get("llm_window", {}), models)
        for identifier, (blob,) in rows.get("llm_session", {}).items():
            self.sessions.load(identifier, blob, models)
        self._saved = self.log.load(rows)
        self.generation.metering.load(self._saved)
        self._check_turns()
        for call_id, (blob,) in rows.get("llm_stream", {}).items():
            self._load_items(call_id, msgpack.unpackb(blob))

    def _check_turns(self) -> None:
        for session in self.sessions:
            if self.state.peer(session.owner) is None:
                self.state.llm.drop([session.id])
            elif session.turn in self.state.messages:
                self.state.llm.made.setdefault(session.turn, []).append(session.id)
            elif session.turn:
                self.state.llm.drop([session.id])

    def _load_items(self, call_id: int, payloads: list[bytes]) -> None:
        call = self.state.calls.get(call_id)
        if call is None:
            self.state.output.changes.delete("llm_stream", call_id)
            return
        call.is_stream = True
        for number, body in enumerate(payloads):
            call.items.append(Envelope(Kind.ITEM, 0, call.owner, body, index=number))

    def forget_unclaimed(self) -> None:
        """Drop saved requests whose calls are gone; after the calls were carried out again."""
        for request in self._saved:
            if request not in self.generation.jobs:
                self.log.close(request)
        self.generation.metering.settle_unclaimed()
        self._saved = {}
