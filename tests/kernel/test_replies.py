"""How a turn answers: by an effect of its commit, or by the commit itself (flag REPLIES)."""

from __future__ import annotations

from typing import Any

import pytest

from ext.wire import Envelope
from ipc.envelope import join_refs
from ipc.plain import encode_plain
from ipc.protocol import Flag, Kind
from tests.kernel.pools import error_name
from tests.kernel.world import ScriptedAgent, World


def asked_of(world: World, method: str) -> tuple[ScriptedAgent, ScriptedAgent, int]:
    """Return an asker, the agent that handles its ask, and the ask's number."""
    asker, callee = world.spawn("asker"), world.spawn("callee")
    world.introduce(asker, callee)
    world.client.tell(asker.id, "go")
    return asker, callee, asker.ask(asker.turn_of("go"), callee.id, method)


def replying(callee: ScriptedAgent, method: str, result: Any, **fields: Any) -> Envelope:
    """Return a commit that carries its reply."""
    turn, payload = callee.turn_of(method), encode_plain(result)
    flags = fields.pop("flags", 0) | Flag.REPLIES
    payload = fields.pop("payload", payload)
    return Envelope(Kind.COMMIT, callee.id, 0, payload, turn=turn, flags=flags, **fields)


def test_a_commit_may_carry_its_reply() -> None:
    world = World()
    asker, callee, number = asked_of(world, "pay")

    callee.send(replying(callee, "pay", "paid", attachments=(b"receipt",)))

    assert asker.answer(number) == "paid"
    reply = asker.last(Kind.REPLY)
    assert (reply.attachments, reply.index, reply.flags) == ((b"receipt",), 0, 0)
    assert world.core.state.actors[callee.id].open == {}


def test_it_may_have_effects_besides() -> None:
    world = World()
    asker, callee, number = asked_of(world, "pay")
    state = callee.state(count=encode_plain(1))

    callee.send(replying(callee, "pay", "paid", index=1), state)

    assert asker.answer(number) == "paid"
    assert world.core.state.actors[callee.id].state == {"count": encode_plain(1)}


def test_the_reply_of_a_commit_is_recorded() -> None:
    world = World()
    asker, callee, number = asked_of(world, "pay")
    world.routes.pop(asker.route)  # the answer is lost with the kernel
    callee.send(replying(callee, "pay", "paid"))

    world.kill_kernel()
    callee.connect()
    asker.open = [asker.turn_of("go")]
    asker.connect()

    assert asker.answer(number) == "paid"
    assert callee.methods() == ["pay"]


def test_handles_in_the_reply_of_a_commit_are_given_to_the_asker() -> None:
    world = World()
    asker, callee, _ = asked_of(world, "find")
    friend = world.spawn("friend")
    world.introduce(callee, friend)

    payload = join_refs([friend.id], encode_plain("here"))
    callee.send(replying(callee, "find", None, payload=payload, flags=Flag.HAS_REFS))

    assert friend.id in world.core.state.actors[asker.id].handles


def test_a_reply_with_a_handle_that_its_sender_lacks_fails_the_turn_as_a_whole() -> None:
    world = World()
    asker, callee, number = asked_of(world, "find")
    stranger = world.spawn("stranger")
    payload = join_refs([stranger.id], encode_plain("here"))
    state = callee.state(count=encode_plain(1))

    commit = replying(callee, "find", None, payload=payload, flags=Flag.HAS_REFS, index=1)
    callee.send(commit, state)

    assert error_name(asker.answer(number)) == "NoCapabilityError"
    assert stranger.id not in world.core.state.actors[asker.id].handles
    assert world.core.state.actors[callee.id].state == {}
    assert callee.last(Kind.REFUSED).turn == commit.turn


def test_a_reply_above_the_limit_of_a_turn_is_refused() -> None:
    world = World(turn_bytes=2000)
    asker, callee, number = asked_of(world, "pay")

    callee.send(replying(callee, "pay", "x" * 2000))

    assert error_name(asker.answer(number)) == "TurnTooLargeError"
    assert callee.last(Kind.REFUSED)


@pytest.mark.parametrize("is_carried", [True, False])
def test_only_an_answer_that_is_given_again_says_that_it_was_recorded(is_carried: bool) -> None:
    world = World()
    asker, callee, _ = asked_of(world, "pay")
    if is_carried:
        callee.send(replying(callee, "pay", "paid"))
    else:
        callee.commit(callee.turn_of("pay"), reply="paid")
    assert not asker.last(Kind.REPLY).flags & Flag.RECORDED

    asker.crash()
    asker = world.agent(asker.id)
    asker.ask(asker.turn_of("go"), callee.id, "pay")

    assert asker.last(Kind.REPLY).flags & Flag.RECORDED
