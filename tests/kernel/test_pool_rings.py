"""Turns of a pool that is taken over, and streams they read, never wait for each other for ever."""

from __future__ import annotations

from ext.wire import Envelope
from ipc.plain import encode_plain
from ipc.protocol import Flag, Kind
from tests.kernel.pools import TestedPool, error_name, tell
from tests.kernel.world import SECOND, ScriptedAgent, World


def stream_from(member: ScriptedAgent, turn: int, receiver: int) -> int:
    """Ask for a stream, of which the asker takes no item yet."""
    return member.ask(turn, receiver, "part", flags=Flag.STREAM, index=1)


def starve(producer: ScriptedAgent) -> int:
    """Let the member that produces the stream yield all it may; return its turn."""
    turn = producer.turn_of("part")
    producer.send(Envelope(Kind.ITEM, producer.id, 0, encode_plain(0), turn=turn))
    return turn


def stopped(member: ScriptedAgent, turn: int) -> None:
    """Tell the kernel that a turn was stopped on its request."""
    member.send(Envelope(Kind.COMMIT, member.id, turn=turn, flags=Flag.CANCELLED))


def test_a_turn_is_not_taken_over_by_a_member_that_does_what_it_has_asked() -> None:  # seed 2100012
    world = World()
    pool = TestedPool(world, minimum=3, maximum=3)
    for number in range(3):
        tell(world, pool, f"busy {number}", affinity="x")
    asked = world.client.ask(pool.id, "work")
    lost, busy = pool.having("work"), pool.having("busy 0")
    turn = lost.turn_of("work")
    stream_from(lost, turn, pool.id)
    starve(pool.having("part"))

    world.client.system("kill", actor=lost.id)

    assert pool.having("work") is busy is not pool.having("part")
    for number in range(3):
        busy.commit(busy.turn_of(f"busy {number}"))
    busy.commit(turn, reply="done")
    assert world.client.answer(asked) == "done"


def test_who_alone_can_take_a_turn_over_ends_what_it_did_for_it_and_is_not_asked_for_it_again() -> (
    None
):
    world = World()
    pool = TestedPool(world, minimum=2, maximum=2)
    asked = world.client.ask(pool.id, "work")
    lost = pool.having("work")
    turn = lost.turn_of("work")
    stream_from(lost, turn, pool.id)
    heir = pool.having("part")
    part = starve(heir)

    world.client.system("kill", actor=lost.id)
    assert heir.last(Kind.CANCEL).turn == part
    stopped(heir, part)
    stream_from(heir, turn, pool.id)
    other = pool.having("part")
    other.commit(other.turn_of("part"))
    heir.commit(turn, reply="done")

    assert other is not heir
    assert world.client.answer(asked) == "done"
    assert world.pending() == 0


def test_a_stream_whose_reader_waits_behind_it_is_ended_as_a_ring() -> None:
    world = World()
    pool = TestedPool(world, minimum=2, maximum=2)
    asked = world.client.ask(pool.id, "work")
    lost = pool.having("work")
    turn = lost.turn_of("work")
    stream_from(lost, turn, pool.id)
    heir = pool.having("part")
    part = starve(heir)
    pool.pool.members[heir.id].is_draining = True  # so nobody can take the turn at first

    world.client.system("kill", actor=lost.id)
    pool.pool.members[heir.id].is_draining = False
    world.core.state.pools_due[pool.id] = None
    world.holds_starts = True
    world.advance(3)

    assert heir.last(Kind.CANCEL).turn == part
    stopped(heir, part)
    refused = heir.answer(stream_from(heir, turn, pool.id))
    assert error_name(refused) == "DeadlockError"
    heir.commit(turn, reply="done without")
    assert world.client.answer(asked) == "done without"


def test_what_ends_with_the_part_it_was_asked_for_is_not_taken_over() -> None:  # seed 3100567
    world = World()
    pool = TestedPool(world, minimum=2, maximum=2, declares={"concurrency": 2})
    asked = world.client.ask(pool.id, "work")
    lost = pool.having("work")
    (heir,) = [member for member in pool.members if member is not lost]
    turn = lost.turn_of("work")
    for part in ("part", "other part"):
        lost.ask(turn, pool.id, part)
    heir.ask(heir.turn_of("part"), pool.id, "deep")
    before = pool.has(lost)

    world.client.system("kill", actor=lost.id)
    for part in ("part", "other part"):
        stopped(heir, heir.turn_of(part))
    heir.commit(turn, reply="done alone")

    assert before == ["work", "deep"]
    assert heir.methods() == ["part", "other part", "work"]
    assert world.client.answer(asked) == "done alone"
    assert world.pending() == 0
    assert not pool.pool.jobs


def test_a_part_that_waits_at_the_pool_beside_the_turn_that_asked_for_it_is_kept() -> None:
    world = World()
    pool = TestedPool(world, minimum=2, maximum=2)
    world.client.ask(pool.id, "work")
    first = pool.having("work")
    first.ask(first.turn_of("work"), pool.id, "part")
    second = pool.having("part")
    before = set(world.core.state.messages)
    pool.pool.hold_until_ns = world.now_ns + 10 * SECOND  # no new members for a while

    pool.pool.members[first.id].is_gone = True  # it takes no more
    world.client.system("kill", actor=second.id)
    world.client.system("kill", actor=first.id)

    assert set(world.core.state.messages) == before
