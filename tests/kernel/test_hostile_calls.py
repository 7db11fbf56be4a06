"""Every system call with any arguments, and an engine that says anything.

test_hostile_peers.py sends nonsense of all kinds; here each call of the kernel's own table gets the
arguments it knows, some as they should be and some not, from a client and from an agent's turn; and
what an engine says is well-formed but for one damaged part. The core never raises, whatever it
journals fits SQLite and can be read back.
"""

from __future__ import annotations

import random
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ext.wire import Envelope
from ipc.plain import encode_plain
from ipc.protocol import Flag, Kind
from tests.kernel.llm.engine_world import EngineWorld, ScriptedEngine
from tests.kernel.test_hostile_peers import check_integers, nonsense
from tests.kernel.world import Peer

STEPS = 250
LEFT_OUT = {"shutdown"}  # after it nothing is served
NAMES = ["worker", "m", "m@1", "none", "turns", "llm", "placement", "fcfs", "fair_share", "cpu"]
SPEC = {"module": "m", "qualname": "A", "name": "x", "restart": "temporary"}
POLICY = {"max_tokens": 3, "seed": 1, "temperature": 0.5, "stop": ["x"], "schema": {"type": "null"}}
PLAUSIBLE: dict[str, list[Any]] = {
    "actor": [1, 2, 3, 4, "worker"],
    "amount": [1, 2],
    "amounts": [{"tokens": 5}, {"money": 1}],
    "balance": ["round_robin", "skill"],
    "count": [1, 2],
    "force": [True, False],
    "input": [{"prompt": "good day"}, {"ids": b"\1\0\0\0"}, {"messages": []}, {}],
    "keep": [5],
    "key": [b"k" * 16],
    "kind": NAMES,
    "limit": [1],
    "limits": [{"tokens": 5}, {"messages": None}],
    "maximum": [3],
    "minimum": [1],
    "model": NAMES,
    "name": NAMES,
    "number": [1],
    "on_doubt": ["raise", "retry"],
    "parent": [1, 2, "worker"],
    "path": ["/tmp/x"],
    "pool": ["worker", "x"],
    "sampling": [{"max_tokens": 3}, POLICY],
    "session": [1, 2],
    "skills": [["a"]],
    "spec": [SPEC, SPEC | {"budget": {"tokens": 9}}, {"name": "n", "driver": "tests:Engine"}],
    "tree": [True],
    "ttl_s": [1.0, 0],
    "version": [1],
}


class HostileWorld(EngineWorld):
    """Every integer that is journaled fits SQLite's 64 signed bits."""

    def emit(self, output: Any) -> None:
        check_integers(output.changes)
        super().emit(output)


def bent(rng: random.Random, value: Any) -> Any:
    """Return a plausible value as it is, or with something in it that is not."""
    if rng.random() < 0.4:
        return nonsense(rng)
    if isinstance(value, dict) and value and rng.random() < 0.5:
        return value | {rng.choice([*value, "more", "tools", "stop"]): nonsense(rng)}
    return value


def arguments(rng: random.Random) -> dict[str, Any]:
    names = rng.sample(sorted(PLAUSIBLE), rng.randrange(8))
    return {name: bent(rng, rng.choice(PLAUSIBLE[name])) for name in names}


def ask(rng: random.Random, world: HostileWorld, calls: list[str]) -> None:
    """Make one call, from the client or in the turn that the worker has open."""
    given = arguments(rng)
    for needed in ("spec", "actor", "name", "input", "session", "model"):  # most cannot do without
        if rng.random() < 0.5:
            given[needed] = bent(rng, rng.choice(PLAUSIBLE[needed]))
    peer, turn = rng.choice([(world.client, 0), open_turn(world)])
    peer.send(
        Envelope(
            Kind.ASK,
            peer.id,
            0,
            encode_plain([rng.choice(calls), [], given]),
            turn=turn,
            correlation=peer.next_correlation(),
            digest=rng.randbytes(16) if turn else b"",
            deadline=rng.choice([0, 0, 10**9]),
            flags=rng.choice([0, 0, Flag.STREAM]),
        )
    )


def open_turn(world: HostileWorld) -> tuple[Peer, int]:
    """Return an agent and the turn it has open; the client and 0 if nobody has one."""
    for agent in world.agents.values():
        mail = [envelope.message for envelope in agent.got if envelope.kind == Kind.TELL]
        if mail and world.routes.get(agent.route) is agent:
            return agent, mail[-1]
    return world.client, 0


def go_on(rng: random.Random, world: HostileWorld, ready: set[tuple[int, int]]) -> None:
    """Let engines begin and compute, and time pass."""
    for agent in list(world.agents.values()):
        name = world.core.state.name_of(agent.id)
        if world.routes.get(agent.route) is not agent or not name.startswith("engine.m."):
            continue
        engine = world.engine(name)
        if (agent.id, agent.incarnation) not in ready:
            ready.add((agent.id, agent.incarnation))
            engine.ready()
        engine.run()
    if rng.random() < 0.1:
        world.advance(rng.choice([0.1, 2]))


@pytest.mark.parametrize("seed", range(12))
def test_no_call_with_any_arguments_stops_the_core(seed: int) -> None:
    rng = random.Random(seed)
    world, ready = HostileWorld(restart_intensity=10**6), set[tuple[int, int]]()
    world.add_model()
    world.client.tell(world.spawn("worker").id, "work")
    calls = sorted(world.core.syscalls.handlers.keys() - LEFT_OUT)
    assert {"spawn", "llm_generate", "pool_create", "budget_top_up", "policy_set"} <= set(calls)

    for _ in range(STEPS):
        ask(rng, world, calls)
        go_on(rng, world, ready)

    answers = {Kind.REPLY, Kind.ERROR} & set(world.client.kinds())
    assert answers == {Kind.REPLY, Kind.ERROR}
    world.kill_kernel()  # what was journaled can be read
    world.client.connect()
    assert world.client.system("status")["actors"] >= 0


def damaged(rng: random.Random, value: Any) -> Any:
    """Return the value with one part of it replaced, left out or made nonsense."""
    if isinstance(value, dict) and value and rng.random() < 0.8:
        name = rng.choice(list(value))
        if rng.random() < 0.1:
            return {key: each for key, each in value.items() if key != name}
        return value | {name: damaged(rng, value[name])}
    if isinstance(value, list) and value and rng.random() < 0.8:
        place = rng.randrange(len(value))
        return [*value[:place], damaged(rng, value[place]), *value[place + 1 :]]
    if isinstance(value, bytes) and rng.random() < 0.7:
        return rng.choice([b"", value[:-1], value * 2, rng.randbytes(len(value)), b"\xff" * 8])
    return nonsense(rng)


class LyingEngine(ScriptedEngine):
    """Keeps to the contract, mostly."""

    rng = random.Random()

    def say(self, kind: Kind, value: Any, **fields: Any) -> None:
        if self.rng.random() < 0.1:
            value = damaged(self.rng, value)
        super().say(kind, value, **fields)


@contextmanager
def its_own_trouble() -> Iterator[None]:
    """Let pass what the pretended engine finds wrong with the answer to a lie."""
    try:
        yield
    except AssertionError as error:
        frames = traceback.extract_tb(error.__traceback__)
        if not frames[-1].filename.endswith("pretend_engine.py"):
            raise


@pytest.mark.parametrize("seed", range(12))
def test_nothing_that_an_engine_says_stops_the_core(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(seed)
    monkeypatch.setattr("tests.kernel.llm.engine_world.ScriptedEngine", LyingEngine)
    monkeypatch.setattr(LyingEngine, "rng", rng)
    world, ready = HostileWorld(restart_intensity=10**6), set[tuple[int, int]]()
    world.add_model(engines=2)
    for number in range(STEPS):
        flags = rng.choice([0, Flag.STREAM])
        world.generate(world.client, f"question {number}", rng.randrange(1, 9), flags=flags)
        with its_own_trouble():
            go_on(rng, world, ready)

    assert Kind.REPLY in world.client.kinds()
    world.kill_kernel()
    world.client.connect()
    assert world.client.system("status")["actors"] >= 0
