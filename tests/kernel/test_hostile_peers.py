"""Authenticated peers that send well-formed nonsense: the core refuses it and lives on.

Unlike tests/chaos/test_fuzz.py these peers have said a proper hello, so their envelopes reach
every handler, with any kind, any field and any body. The core must never raise, every number it
journals must fit SQLite, and a well-behaved client must be served as before.
"""

from __future__ import annotations

import random
from typing import Any

import pytest

import ipc.syscalls
from ext.wire import Envelope
from ipc.envelope import join_refs
from ipc.plain import encode_plain
from ipc.protocol import WATCH_OPERATIONS, Flag, Kind
from kernel.records import WriteSet
from tests.kernel.world import Peer, World

STEPS = 400
CALLS = [
    line.split()[0]
    for line in (ipc.syscalls.__doc__ or "").splitlines()
    if line[:4] == "    " and line[4:5].isalpha()
]


def nonsense(rng: random.Random, depth: int = 0) -> Any:
    """Return any value that msgpack can hold."""
    plain = [
        None,
        True,
        -1,
        0,
        1,
        2**63,
        2**64 - 1,
        -(2**63),
        float("nan"),
        1e308,
        "",
        "a",
        "link",
        "worker",
        "x" * 300,
        b"",
        b"bytes",
        "one_for_all",
    ]
    choice = rng.random()
    if depth > 2 or choice < 0.6:
        return rng.choice(plain)
    if choice < 0.8:
        return [nonsense(rng, depth + 1) for _ in range(rng.randrange(4))]
    names = ["actor", "name", "spec", "qualname", "module", "mailbox_messages", "restart", "number"]
    return {rng.choice(names): nonsense(rng, depth + 1) for _ in range(rng.randrange(4))}


def body(rng: random.Random) -> bytes:
    pick = rng.random()
    if pick < 0.1:
        return rng.randbytes(rng.randrange(30))
    if pick < 0.3:
        return encode_plain(
            [rng.choice([*WATCH_OPERATIONS, 7]), nonsense(rng), nonsense(rng), "wait"]
        )
    if pick < 0.5:
        spec = {"qualname": "A", "module": "m", "name": rng.choice(["x", "y", None])}
        spec[rng.choice(["mailbox_messages", "max_attempts", "restart", "rlimits"])] = nonsense(rng)
        arguments = {
            "spec": spec,
            "actor": nonsense(rng),
            "name": nonsense(rng),
            "limit": nonsense(rng),
        }
        return encode_plain([rng.choice(CALLS), [], arguments])
    return encode_plain(nonsense(rng))


def envelope(rng: random.Random, peer: Peer, others: list[int]) -> Envelope:
    """Return an envelope of any kind, its fields half plausible, half not."""
    turns = [e.message for e in peer.got if e.kind in (Kind.TELL, Kind.ASK)] or [0]
    payload = body(rng)
    flags = rng.choice([0, rng.getrandbits(10)])
    if flags & Flag.HAS_REFS and rng.random() < 0.7:
        payload = join_refs([rng.choice([*others, 2**63, 5])], payload)
    return Envelope(
        rng.choice([kind for kind in Kind if kind != Kind.HELLO]),
        rng.choice([peer.id, 0, 2**64 - 1]),
        rng.choice([0, *others, 12345, 2**64 - 1]),
        payload,
        turn=rng.choice([*turns, 0, 2**64 - 1]),
        correlation=rng.choice([0, 1, 2, 2**64 - 1]),
        deadline=rng.choice([0, 1, 10**9, 2**64 - 1]),
        index=rng.choice([0, 1, 2, 2**32 - 1]),
        flags=flags,
        priority=rng.randrange(8),
        digest=rng.choice([b"", b"d" * 16, rng.randbytes(16)]),
        acknowledged=rng.choice([0, 1, 2**64 - 1]),
    )


class StrictWorld(World):
    """Checks that every integer that is journaled fits SQLite's 64 signed bits."""

    def emit(self, output: Any) -> None:
        check_integers(output.changes)
        super().emit(output)


def check_integers(changes: WriteSet) -> None:
    for table, rows in changes.tables.items():
        for key, row in rows.items():
            keys = key if isinstance(key, tuple) else (key,)
            for value in (*keys, *(row or ())):
                if isinstance(value, int):
                    assert -(2**63) <= value < 2**63, (table, key)


@pytest.mark.parametrize("seed", range(20))
def test_a_hostile_agent_or_client_never_stops_the_core(seed: int) -> None:
    rng = random.Random(seed)
    world = StrictWorld(restart_intensity=10**6)
    world.spawn("worker")
    world.spawn("other")
    good = world.client
    hostile: list[int] = []
    for _ in range(STEPS):
        if good.correlation % 7 == 0:
            good.tell(rng.choice(list(world.core.state.actors) or [5]), "work", rng.random())
        agents = [a for a in world.agents.values() if a.id in world.core.state.actors]
        if not agents:
            world.spawn(f"worker-{rng.random()}")
            continue
        peer: Peer = rng.choice([*agents, good])
        if world.routes.get(peer.route) is not peer:
            continue
        batch = [
            envelope(rng, peer, list(world.core.state.actors)) for _ in range(rng.randrange(1, 4))
        ]
        for one in batch:
            if one.kind not in (Kind.WELCOME, Kind.REJECT, Kind.ACK, Kind.TICK):
                peer.channel.number(one)
        if peer is good and any(one.kind == Kind.BYE for one in batch):
            continue
        hostile.append(peer.id)
        world.turn(peer.route, batch)
        if rng.random() < 0.05:
            world.advance(rng.choice([0.1, 30]))

    assert hostile
    counts = world.core.statistics()
    assert sum(counts.get(name, 0) for name in ("refused", "frames_unexpected")) > 0


@pytest.mark.parametrize("seed", range(30))
def test_a_hello_with_any_declarations_is_taken_or_rejected(seed: int) -> None:
    rng = random.Random(seed)
    world = StrictWorld()
    names = [
        "hooks",
        "concurrency",
        "lease_s",
        "subscriptions",
        "handlers",
        "strategy",
        "intensity",
        "period_s",
    ]
    world.declares["worker"] = {name: nonsense(rng) for name in rng.sample(names, 3)}
    spec = {"qualname": "A", "module": "m", "name": "worker"}

    world.client.ask_system("spawn", spec=spec)
    (line,) = world.client.system("ps")
    world.advance(1)

    (agent,) = world.agents.values()
    assert (agent.rejected is None) == (line["state"] == "idle")


@pytest.mark.parametrize("name", ["", "x" * 256, "5", "two\nlines", "\x1b[31mred"])
def test_a_name_that_would_pass_for_something_else_is_refused(name: str) -> None:
    world = World()

    refusal = world.client.system("spawn", spec={"qualname": "A", "module": "m", "name": name})

    assert "a name " in refusal["fields"]["problem"]
    assert world.client.system("ps") == []


@pytest.mark.parametrize("variable", [{"": "x"}, {"A=B": "x"}, {"A": "x\0y"}])
def test_a_variable_that_no_process_can_have_is_refused(variable: dict[str, str]) -> None:
    world = World()
    spec = {"qualname": "A", "module": "m", "environment": variable}

    refusal = world.client.system("spawn", spec=spec)

    assert "no environment can hold" in refusal["fields"]["problem"]
