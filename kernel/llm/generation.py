"""LLM calls on their way to an engine: prepared, journaled, queued, and anew when one is lost.

A job needs an engine twice: to turn its input into tokens, and to compute. While none is ready
it waits in its model's line; kernel/llm/fleet.py starts engines for those. An engine that dies
gives its jobs back: they go on with all tokens that were emitted, on whichever engine is next.

Invariants:
  G1  a job in ``jobs`` is in exactly one of: a model's line, a session's line, an engine's
      ``preparing`` or ``jobs``, the queue of a remote model, the line of its owner's budget.
  G2  a request is journaled (kernel/llm/token_log.py) before an engine is told of it.
  G3  a call that nobody waits for any more has no job at the end of the loop turn.

Not here: how a job leaves (kernel/llm/job_table.py), what its steps give (kernel/llm/steps.py),
what is made of that (kernel/llm/completions.py).

Cost: O(1) a call.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from ext.wire import Envelope
from ipc.engine import Preparation
from ipc.errors import (
    BadFrameError,
    BadPromptError,
    EngineDownError,
    InDoubtError,
    LLMOSError,
    LlmQueueFullError,
    PromptTooLongError,
    from_wire,
)
from ipc.plain import decode_plain, encode_plain
from ipc.protocol import Flag, Kind
from kernel.llm.answers import Answers
from kernel.llm.completions import Completions
from kernel.llm.engines import Engine, Engines
from kernel.llm.job import Job, Phase, Purpose
from kernel.llm.job_input import has_tools, whole_input
from kernel.llm.job_table import JobTable
from kernel.llm.placement import Placement
from kernel.llm.remote import RemoteQueues
from kernel.llm.request import Request
from kernel.llm.scheduler import Scheduler
from kernel.llm.sessions import Ids
from kernel.llm.token_log import Saved, TokenLog
from kernel.llm.tool_holds import ToolHolds
from kernel.program import program_number

MAX_DEATHS = 3  # engines that may die while they compute a request


class Generation:
    """See the module head."""

    def __init__(
        self,
        answers: Answers,
        engines: Engines,
        log: TokenLog,
        remote: RemoteQueues,
        placement: Placement,
    ) -> None:
        self.state = answers.state
        self.placement = placement
        self.answers = answers
        self.engines = engines
        self.log = log
        self.remote = remote
        self.table = JobTable(answers, engines, log, remote, placement, self.advance)
        self.jobs = self.table.jobs
        self.metering = self.table.metering
        self.pins = self.table.pins
        self.holds = ToolHolds(self.state.config.llm_hold_s, self._scheduler_of)
        self.completions = Completions(self.table, self.pins, self.holds)

    def _scheduler_of(self, actor: int) -> Scheduler | None:
        engine = self.engines.get(actor)
        return engine.scheduler if engine is not None else None

    # --- to an engine -------------------------------------------------------------------

    def begin(self, job: Job, saved: Saved | None = None) -> None:
        """Take a job. saved: what the journal has of it."""
        limit = self.state.config.llm_waiting
        if saved is None and len(self.jobs) >= limit:
            value = len(self.jobs)
            raise LlmQueueFullError(value=value, model=job.model.name, limit=limit)
        self.jobs[job.id] = job
        if saved is not None:
            self._restore(job, saved)
            self.metering.restore(job)
        session = job.session
        if session is not None:
            if session.running:
                session.line.append(job.id)
                return
            session.running = job.id
        self.advance(job)

    def _restore(self, job: Job, saved: Saved) -> None:
        facts = saved.facts
        prompt = np.frombuffer(facts["ids"], np.int32)
        ids = np.concatenate([prompt, np.array(saved.emitted, np.int32)])
        job.sampling = facts["sampling"]
        job.is_sent_before = facts["sent"]
        job.request = self._make_request(job, ids, len(prompt))
        for text in saved.texts:
            self.answers.show(job, text, 1)
        job.request.sent_chars = len(job.shown)

    def advance(self, job: Job) -> None:
        """Bring a job to an engine that is ready, or into its model's line."""
        ready = [engine for engine in self.engines.of_model(job.model) if engine.takes_work]
        if not ready:
            job.phase, job.engine = Phase.LINE, 0
            self.engines.line(job.model).append(job)
            self.table.wanted[job.model] = None
            return
        session = job.session.engine if job.session is not None else 0
        engine = self.placement.choose(ready, self.state.now_ns, session)
        try:
            self._check_doubt(job)
            if job.end_reason is not None:
                self.completions.spell(job, engine)
            elif job.request is not None:
                self._queue(job, engine)
            else:
                self._prepare(job, engine)
        except LLMOSError as error:
            self.table.fail(job, error)

    def _check_doubt(self, job: Job) -> None:
        """Raise InDoubtError for a remote call that may have been computed and billed."""
        if job.is_sent_before and (job.shown or not job.retries_doubt):
            reason = "the process that had sent it died before the endpoint's answer was recorded"
            raise InDoubtError(call=f"a completion by {job.model.label}", reason=reason)
        if job.is_sent_before:
            self.metering.charge_attempt(job)
        job.is_sent_before = False

    def _prepare(self, job: Job, engine: Engine) -> None:
        given = whole_input(job)
        if given is None:
            assert job.session is not None
            self._take_ids(job, engine, job.session.ids)
            return
        body = Preparation(input=given)
        if job.purpose is Purpose.GENERATE:
            body["sampling"] = job.sampling
        if job.session is not None and len(job.session.ids) and "messages" not in given:
            body["previous"] = job.session.ids.tobytes()
        job.phase, job.engine = Phase.PREPARING, engine.actor
        engine.preparing[job.id] = job
        self.table.post(
            engine, Envelope(Kind.PREPARE, payload=encode_plain(body), correlation=job.id)
        )

    def on_prepared(self, engine: Engine, envelope: Envelope) -> None:
        """The engine has turned a job's input into tokens, or refuses it."""
        job = engine.preparing.pop(envelope.correlation, None)
        if job is None:
            return  # cancelled meanwhile
        try:
            body = decode_plain(envelope.payload)
            if job.end_reason is not None:
                self.completions.complete_spelt(
                    job, body, is_refused=bool(envelope.flags & Flag.FAILED)
                )
                return
            if envelope.flags & Flag.FAILED:
                raise from_wire(body)
            ids = np.frombuffer(_bytes_of(body, "ids"), np.int32)
            session = job.session
            if session is not None and job.given is not None and "messages" not in job.given:
                ids = np.concatenate([session.ids, ids])
            self._take_ids(job, engine, ids)
        except LLMOSError as error:
            self.table.fail(job, error)
        except Exception:  # the engine breaks the contract: with it, its jobs are taken back
            engine.preparing[envelope.correlation] = job
            raise

    def _take_ids(self, job: Job, engine: Engine, ids: Ids) -> None:
        if job.purpose is Purpose.COUNT:
            self.table.finish(job, encode_plain({"tokens": len(ids)}))
        elif job.purpose is Purpose.APPEND:
            assert job.session is not None
            self.completions.extend_session(job.session, job.given, ids, None)
            self.table.finish(job, encode_plain(job.session.info()))
        else:
            if not len(ids) and engine.scheduler is not None:
                raise BadPromptError(problem="it comes to no tokens at all")
            self._open(job, engine, ids)

    def _open(self, job: Job, engine: Engine, ids: Ids) -> None:
        """Journal the request and queue it (G2)."""
        sampling = job.sampling
        if "seed" not in sampling:
            sampling["seed"] = self.state.rng.getrandbits(62)
        if engine.scheduler is not None:
            room = engine.facts["max_context"] - len(ids)
            if room < 1:
                limit = engine.facts["max_context"] - 1
                raise PromptTooLongError(value=len(ids), what="the model's context", limit=limit)
            sampling["max_tokens"] = min(sampling["max_tokens"], room)
        job.request = self._make_request(job, ids, len(ids))
        if engine.scheduler is not None:
            engine.scheduler.check(job.request)
        self.log.open(job.id, self._facts(job))
        self._queue(job, self._place(job, engine))

    def _place(self, job: Job, engine: Engine) -> Engine:
        """Think again about the engine of a job without a session: its tokens are known now."""
        if job.session is not None or engine.scheduler is None or job.request is None:
            return engine
        engines = [other for other in self.engines.of_model(job.model) if other.takes_work]
        return self.placement.choose_again(engines, engine, job.request.ids, self.state.now_ns)

    def note_sent(self, job: Job, *, is_sent: bool = True) -> None:
        """Journal that a remote call may be computed from now on, or is not after all."""
        self.log.amend(job.id, self._facts(job, is_sent=is_sent))

    def _facts(self, job: Job, *, is_sent: bool = False) -> dict[str, Any]:
        assert job.request is not None
        return {
            "ids": job.request.ids[: job.request.num_prompt].tobytes(),
            "sampling": job.sampling,
            "model": [job.model.name, job.model.version],
            "sent": is_sent,
            "held": job.meter.reserved if is_sent and job.meter is not None else None,
        }

    def _make_request(self, job: Job, ids: Ids, num_prompt: int) -> Request:
        asked, owner = job.call.request, self.state.actors.get(job.owner)
        return Request(
            id=job.id,
            owner=job.owner,
            ids=ids,
            num_prompt=num_prompt,
            sampling=job.sampling,
            stream=job.call.is_stream,
            priority=job.priority,
            arrival_ns=job.accepted_ns,
            call_site=job.call_site,
            sent_chars=len(job.shown),
            has_tools=has_tools(job),
            family=job.session.family if job.session is not None else 0,
            program=program_number(asked.trace) if asked is not None else 0,
            weight=owner.weight if owner is not None else 1.0,
            parents=job.parents,
        )

    def _queue(self, job: Job, engine: Engine) -> None:
        assert job.request is not None
        given = whole_input(job) if engine.scheduler is None else None
        if not self.metering.admit(job, engine, given):
            return
        job.phase = Phase.QUEUED
        if engine.scheduler is None:
            assert given is not None
            job.engine = 0
            self.remote.add(job, given)
            return
        job.engine = engine.actor
        self.holds.come(job.program, self.state.now_ns)
        engine.scheduler.add(job.request, self.state.now_ns)
        engine.jobs[job.id] = job
        several = len(self.engines.of_model(job.model)) > 1
        if several:
            self.placement.begin(job.id, engine, job.request.ids, self.state.now_ns)
        if job.meter is not None:
            engine.metered[job.id] = job
        if job.session is not None:
            job.session.engine = engine.actor
        self.table.dirty[engine.actor] = engine

    # --- priority and budget ---------------------------------------------------------------

    def raise_priority(self, call_id: int, priority: int) -> None:
        """A call has inherited a more urgent priority: so have those its session does first."""
        job = self.jobs.get(call_id)
        if job is None or job.priority <= priority:
            return
        job.priority = priority
        if job.request is not None:
            job.request.priority = priority
        session, engine = job.session, self.engines.get(job.engine)
        if session is not None and session.running != job.id:
            before = [session.running, *itertools.takewhile(lambda n: n != job.id, session.line)]
            for other in before:
                self.raise_priority(other, priority)
        if job.request is not None and engine is not None and engine.scheduler is not None:
            engine.scheduler.reprioritise(job.id, priority, self.state.now_ns)
            self.table.dirty[engine.actor] = engine
        elif job.phase is Phase.QUEUED:
            self.remote.raise_priority(job)

    def meter_anew(self, owners: set[int]) -> None:
        """Owners have got a budget: it counts from now on for their pins and what they wait for."""
        self.pins.count(owners)
        for job in list(self.jobs.values()):
            if job.owner in owners and job.meter is None and job.phase is Phase.QUEUED:
                self._queue_again(job)

    def change_owner(self, job: Job) -> None:
        """Another waits for a job: where it stands in an owner's name it stands in the new one's.

        An endpoint that computes it, or an engine that turns it into tokens or text, goes on.
        """
        if job.request is not None:
            job.request.owner = job.owner
        if job.phase is Phase.BUDGET:
            self.metering.leave(job)
            self.advance(job)
        elif job.phase is Phase.QUEUED:
            self._queue_again(job)

    def _queue_again(self, job: Job) -> None:
        """Take a job out of the queue it is in, with what it has, and bring it to one anew."""
        engine = self.engines.get(job.engine)
        if engine is not None and engine.scheduler is not None:
            engine.scheduler.cancel(job.id, self.state.now_ns)
            engine.jobs.pop(job.id, None)
            engine.metered.pop(job.id, None)
            self.table.dirty[engine.actor] = engine
        else:
            self.remote.cancel(job)
        self.advance(job)

    # --- engines come and go --------------------------------------------------------------

    def drain_line(self, engine: Engine) -> None:
        """An engine is ready: the jobs that waited for its model go on."""
        line = self.engines.line(engine.model)
        for _ in range(len(line)):
            self.advance(line.popleft())

    def take_back(self, engine: Engine, *, is_dead: bool) -> None:
        """An engine knows nothing any more: its jobs look for one, with what they have."""
        jobs = sorted([*engine.preparing.values(), *engine.jobs.values()], key=lambda job: job.id)
        self.placement.forget(engine.actor)
        engine.preparing.clear()
        engine.jobs.clear()
        engine.metered.clear()
        if engine.scheduler is not None:
            self.pins.void(engine.scheduler)
            engine.scheduler.close(self.state.now_ns)
            engine.scheduler = None
        for job in jobs:
            if is_dead and job.request is not None and job.request.first_planned_ns:
                job.deaths += 1
            if job.phase is Phase.SENT:
                job.is_sent_before = True
                self.remote.settle(job, None)
            job.engine = 0
            if job.deaths >= MAX_DEATHS:
                problem = f"its process died {job.deaths} times while it computed this request"
                self.table.fail(job, EngineDownError(model=job.model.label, problem=problem))
            else:
                self.advance(job)


def _bytes_of(body: Any, key: str) -> bytes:
    value = body.get(key) if isinstance(body, dict) else None
    if not isinstance(value, bytes) or len(value) % 4:
        raise BadFrameError(reason=f"{key} are int32 ids as bytes")
    return value
