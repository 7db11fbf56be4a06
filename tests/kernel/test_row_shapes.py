"""A journal with a row that does not fit is refused by name, whatever is wrong with which row."""

from __future__ import annotations

import copy
import random
from functools import cache
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ext.wire import Envelope
from ipc.errors import BadRecordError
from ipc.plain import encode_plain
from ipc.protocol import Flag, Kind
from kernel.config import KernelConfig
from kernel.core import Core
from kernel.journal.row_shapes import SHAPES
from kernel.records import TABLES, Snapshot
from tests.kernel.llm.engine_world import EngineWorld
from tests.kernel.pools import TestedPool, boom, hinted, tell
from tests.kernel.world import SECOND, ScriptedAgent
from tests.trials import trials

CHILD = {"qualname": "Child", "module": "tests", "name": "child"}
WRONG = (None, -1, 1 << 40, 3.5, True, "wrong", b"\xc1\x00\x07", [], {}, [["wrong"]], {"wrong": {}})


def fill(world: EngineWorld) -> None:
    """Do what leaves rows in every table."""
    client = world.client
    world.add_model(price_in=1)
    pool = TestedPool(world, minimum=1, maximum=2, spec={"budget": {"tokens": 500}})
    boss = world.spawn("boss", budget={"messages": 1, "cpu_s": 10**12})
    client.tell(boss.id, "go")
    turn = boss.turn_of("go")
    boss.lookup(turn, "pool")
    boss.system(turn, "spawn", spec=CHILD)
    timer = Envelope(Kind.TIMER, boss.id, boss.id, encode_plain(["later", [], {}]), deadline=SECOND)
    timer.correlation = 5
    effects = [boss.state(x=b"1"), boss.told(pool.id, "one"), boss.told(pool.id, "two"), timer]
    boss.commit(turn, *effects)
    for name, attempts in (("again", 5), ("mute", 1)):  # one is tried again, one is a dead letter
        agent = world.spawn(name, max_attempts=attempts)
        client.tell(agent.id, "fails")
        agent.fail(agent.turn_of("fails"), boom())
    tell(world, pool, "hinted", affinity="blue")
    client.send(Envelope(Kind.TELL, client.id, boss.id, hinted("no"), correlation=77))
    client.ask(boss.id, "keyed", flags=Flag.KEYED, digest=b"k" * 16)
    producer = world.spawn("producer")
    client.ask(producer.id, "items", flags=Flag.STREAM, index=4)
    item = Envelope(Kind.ITEM, producer.id, payload=encode_plain(0))
    item.turn = producer.turn_of("items")
    producer.send(item)
    client.system("resource_add", name="licence", amount=3)
    client.system("resource_add", name="turn-slots", amount=1)
    client.system("policy_set", kind="turns", name="priority")
    use_models(world, pool)
    world.spawn("hanging")
    world._run = world.commands.append  # type: ignore[method-assign]  # nobody comes to kill it
    client.system("kill", actor="hanging")
    del world._run


def use_models(world: EngineWorld, pool: TestedPool) -> None:
    """Leave a session, a finished stream, and requests under way, one of them streamed."""
    (member,) = pool.members
    client, turn = world.client, next(iter(world.core.state.actors[member.id].open))
    client.system("llm_session")
    ask(member, turn, "streamed and done", 3, Flag.STREAM)
    world.engine().ready()
    world.engine().run()
    ask(member, turn, "streamed", 200, Flag.STREAM)
    world.generate(client, "a long one", 150)
    for _ in range(110):
        world.engine().step()
    client.system("resource_drain", name="engine.m.1")
    world.declares["engine.far.1"] = {"driver": "engine"}
    world.add_model(name="far", requests_per_minute=9)
    client.system("model_load", name="far")
    engine = world.engine("engine.far.1")
    engine.ready(block_size=0)
    world.generate(client, "to an endpoint", 9, model="far")
    engine.listen()


def ask(agent: ScriptedAgent, turn: int, prompt: str, count: int, flags: int) -> None:
    arguments = {"input": {"prompt": prompt}, "sampling": {"max_tokens": count}}
    envelope = Envelope(Kind.ASK, agent.id, 0, encode_plain(["llm_generate", [], arguments]))
    envelope.correlation, envelope.turn, envelope.flags = agent.next_correlation(), turn, flags
    envelope.digest = prompt.encode()[:16].ljust(16)
    agent.send(envelope)


@cache
def journaled() -> Snapshot:
    world = EngineWorld(max_attempts=5)
    fill(world)
    return world.journal.load()


def recover(snapshot: Snapshot) -> Core:
    """Build a kernel from rows, and let it live for a while."""
    core = Core(
        KernelConfig(),
        snapshot,
        generation=1,
        epoch=9,
        rng=random.Random(1),
        operator_token="t" * 64,
        monotonic_ns=10 * SECOND,
        wall_ns=10 * SECOND,
    )
    for second in range(1, 90, 11):
        core.begin((10 + second) * SECOND, (10 + second) * SECOND)
        core.finish()
    return core


def refusal_of(snapshot: Snapshot) -> BadRecordError | None:
    """Return why a kernel is not built from these rows; None: it was, and lives."""
    try:
        recover(snapshot)
    except BadRecordError as error:
        return error
    return None


def copied() -> Snapshot:
    return {table: dict(rows) for table, rows in journaled().items()}


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the places of all fields and elements, two levels deep."""
    if len(path) == 2:
        return []
    parts: Any = []
    if isinstance(value, dict):
        parts = value.items()
    elif isinstance(value, list):
        parts = enumerate(value)
    return [place for key, inner in parts for place in ((*path, key), *places(inner, (*path, key)))]


def damaged(blob: bytes, data: st.DataObject) -> bytes:
    """Delete a field of a blob, or give it something else."""
    value = copy.deepcopy(msgpack.unpackb(blob))
    found = places(value)
    if not found or data.draw(st.integers(0, 9)) == 0:
        wrong = data.draw(st.sampled_from(WRONG))
        return bytes(msgpack.packb(wrong)) if data.draw(st.booleans()) else b"\xc1" + blob
    *way, last = data.draw(st.sampled_from(found))
    holder = value
    for key in way:
        holder = holder[key]
    if data.draw(st.booleans()):
        del holder[last]
    else:
        holder[last] = data.draw(st.sampled_from(WRONG))
    return bytes(msgpack.packb(value))


BLOBS = [name for name, table in TABLES.items() if table.columns and table.columns[-1][0] == "row"]


def test_every_table_with_blobs_of_fields_has_a_shape() -> None:
    assert {*BLOBS, "routed"} == set(SHAPES)


@settings(max_examples=trials(200), deadline=None)
@given(data=st.data())
def test_a_row_with_a_field_gone_or_wrong_is_named_or_does_no_harm(data: st.DataObject) -> None:
    snapshot = copied()
    table = data.draw(st.sampled_from([name for name in [*BLOBS, "routed"] if snapshot.get(name)]))
    key = data.draw(st.sampled_from(sorted(snapshot[table], key=repr)))
    row = snapshot[table][key]
    snapshot[table][key] = (*row[:-1], damaged(row[-1], data) if row[-1] else b"\xc1")

    refused = refusal_of(snapshot)

    assert refused is None or (refused.table == table and str(refused.key) in str(refused))


@settings(max_examples=trials(60), deadline=None)
@given(data=st.data())
def test_a_column_of_another_type_is_refused_with_table_and_key(data: st.DataObject) -> None:
    snapshot = copied()
    full = [name for name, rows in snapshot.items() if rows and TABLES[name].columns]
    table = data.draw(st.sampled_from(full))
    key = data.draw(st.sampled_from(sorted(snapshot[table], key=repr)))
    row = list(snapshot[table][key])
    place = data.draw(st.integers(0, len(row) - 1))
    other = [
        wrong for wrong in (None, 3, 3.5, "wrong", b"wrong") if type(wrong) is not type(row[place])
    ]
    if table == "keyed" and None in other:
        other.remove(None)
    row[place] = data.draw(st.sampled_from(other))
    snapshot[table][key] = tuple(row)

    with pytest.raises(BadRecordError) as caught:
        recover(snapshot)

    assert (caught.value.table, caught.value.key) == (table, key)


def test_a_budget_without_its_run_is_refused_with_what_is_missing() -> None:
    snapshot = copied()
    key = min(snapshot["budget"])
    value = msgpack.unpackb(snapshot["budget"][key][0])
    del value["run"]
    snapshot["budget"][key] = (msgpack.packb(value),)

    with pytest.raises(BadRecordError, match=rf"budget, key {key}: run: Field required"):
        recover(snapshot)


def test_rings_and_names_of_two_are_refused() -> None:
    for table, field, value, problem in (
        ("actor", "parent", None, "above itself"),
        ("budget", "parent", None, "above itself"),
        ("actor", "name", "boss", "is the name of"),
    ):
        snapshot = copied()
        key = max(snapshot[table])
        row = msgpack.unpackb(snapshot[table][key][0])
        row[field] = key if value is None else value
        snapshot[table][key] = (msgpack.packb(row),)

        with pytest.raises(BadRecordError, match=problem):
            recover(snapshot)


def test_what_was_journaled_has_rows_in_every_table_and_is_recovered() -> None:
    snapshot = journaled()

    recover(copied())

    assert [name for name in TABLES if not snapshot.get(name)] == []
