"""kernel/handshake.py: a connection says only what its peer said on it, and only of this epoch."""

from __future__ import annotations

from ext.wire import Envelope
from ipc.protocol import Kind
from tests.kernel.world import ScriptedAgent, World


def with_mail(world: World, count: int = 3) -> ScriptedAgent:
    """Return an agent to which messages are on the way; it has acknowledged none."""
    worker = world.spawn("worker")
    for number in range(count):
        world.client.tell(worker.id, "work", number)
    return worker


def kept(world: World, agent: ScriptedAgent) -> int:
    """Return how many envelopes the kernel would send the agent again."""
    channel = world.core.state.actors[agent.id].channel
    return channel.num_kept if channel is not None else 0


def test_what_arrives_on_a_connection_after_its_successor_said_hello_is_not_taken() -> None:
    world = World()
    worker = world.spawn("worker")
    before = worker.route
    worker.connect()
    for number in range(3):
        world.client.tell(worker.id, "work", number)
    sent = kept(world, worker)
    late = worker.channel.number(
        Envelope(Kind.COMMIT, worker.id, turn=worker.turn_of("work"), acknowledged=sent)
    )

    world.turn(before, [Envelope(Kind.ACK, worker.id, acknowledged=sent)])
    world.turn(before, [late])

    assert kept(world, worker) == sent == 3
    assert world.pending() == 3
    assert world.core.statistics()["frames_of_strangers"] == 1


def test_the_hello_of_an_earlier_connection_does_not_take_over() -> None:
    world = World()
    worker = with_mail(world)
    first, second = world.new_route(), world.new_route()

    def hello(attempt: int) -> Envelope:
        facts = {"role": "agent", "incarnation": worker.incarnation, "token": worker.token}
        return Envelope(
            Kind.HELLO, worker.id, 0, worker.hello_body(**facts, open=[], attempt=attempt)
        )

    world.turn(second, [hello(attempt=2)])
    world.turn(first, [hello(attempt=1)])

    assert world.core.state.actors[worker.id].route == second


def test_a_mark_of_an_earlier_kernel_epoch_is_not_believed() -> None:
    world = World()
    worker = with_mail(world)
    marks = worker.channel.covered
    assert marks == 3

    world.kill_kernel()
    world.turn(worker.route, [Envelope(Kind.ACK, worker.id, acknowledged=marks)])
    worker.connect()  # its hello tells what it had taken in the epoch before

    assert worker.granted[-1].sequence == 3  # numbered anew, from 1, and all of them
    assert len(worker.granted) == 6
    assert kept(world, worker) == 3


def test_a_mark_beyond_what_was_sent_covers_no_more_than_that() -> None:
    world = World()
    worker = with_mail(world)

    world.turn(worker.route, [Envelope(Kind.ACK, worker.id, acknowledged=1 << 40)])
    world.client.tell(worker.id, "more")

    assert kept(world, worker) == 1
