"""What ``llmos top`` shows of LLM work: read-only pictures.

Cost: O(engines + requests).
"""

from __future__ import annotations

from collections import Counter

from ipc.llm import EngineStatus, OwnerStatus
from kernel.llm.engines import Engine
from kernel.llm.generation import Generation
from kernel.llm.job import Phase


def describe_engines(generation: Generation) -> list[EngineStatus]:
    """Return one line an engine."""
    return [_engine(generation, engine) for engine in generation.engines]


def _engine(generation: Generation, engine: Engine) -> EngineStatus:
    status = EngineStatus(
        actor=engine.actor,
        name=engine.name,
        model=engine.model.name,
        version=engine.model.version,
        state=engine.state.value,
        waiting=len(generation.engines.line(engine.model)) + len(engine.preparing),
        running=0,
        blocks=0,
        blocks_used=0,
        blocks_cached=0,
        generated_tokens=0,
        prompt_tokens=0,
        cached_tokens=0,
        steps=engine.steps,
        preemptions=0,
        demoted_blocks=0,
        promoted_blocks=0,
        step_ns=engine.step_ns,
    )
    if engine.scheduler is not None:
        found = engine.scheduler.statistics()
        status["waiting"] += found.waiting
        status["running"] = found.running
        status["blocks"] = found.blocks
        status["blocks_used"] = found.used
        status["blocks_cached"] = found.cached
        status["generated_tokens"] = found.generated
        status["prompt_tokens"] = found.prompt
        status["cached_tokens"] = found.cached_tokens
        status["preemptions"] = found.preemptions
        status["demoted_blocks"] = found.demoted
        status["promoted_blocks"] = found.promoted
    else:
        status["running"] = len(engine.jobs)
        queue = generation.remote.queues.get(engine.model)
        status["waiting"] += len(queue) if queue is not None else 0
    return status


def describe_owners(generation: Generation) -> list[OwnerStatus]:
    """Return one line an agent or client that has requests or blocks."""
    running: Counter[int] = Counter()
    blocks: Counter[int] = Counter()
    generated: Counter[int] = Counter()
    jobs = Counter(job.owner for job in generation.jobs.values())
    for engine in generation.engines:
        if engine.scheduler is not None:
            for owner, found in engine.scheduler.owner_statistics().items():
                running[owner] += found.running
                blocks[owner] += found.blocks
    for job in generation.jobs.values():
        running[job.owner] += job.phase is Phase.SENT
        generated[job.owner] += job.request.num_emitted if job.request is not None else 0
    return [
        OwnerStatus(
            actor=owner,
            name=generation.state.name_of(owner),
            waiting=max(0, jobs[owner] - running[owner]),
            running=running[owner],
            blocks=blocks[owner],
            generated_tokens=generated[owner],
        )
        for owner in sorted({*jobs, *blocks})
        if jobs[owner] or blocks[owner]
    ]
