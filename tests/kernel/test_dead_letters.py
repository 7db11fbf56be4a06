"""kernel/dead_letters.py: kept in order, bounded in count and age, read back as written."""

from __future__ import annotations

from ext.wire import Envelope
from ipc.errors import NoHandlerError
from ipc.plain import decode_plain
from ipc.protocol import Kind
from kernel.dead_letters import DeadLetterQueue, Letter
from tests.kernel.world import ScriptedAgent, World

HOUR = 3600 * 1_000_000_000


def letter(number: int, receiver: int = 1, died_wall_ns: int = 0) -> Letter:
    envelope = Envelope(Kind.TELL, 7, receiver, b"body", message=number + 100)
    error = {"code": 102, "fields": {"actor": "a"}}
    return Letter(number, envelope, "worker", "no_handler", error, 2, died_wall_ns)


def queue_of(*letters: Letter, limit: int = 100) -> DeadLetterQueue:
    queue = DeadLetterQueue(limit, HOUR)
    for item in letters:
        queue.add(item)
    return queue


def test_the_newest_come_first_and_can_be_asked_for_by_receiver() -> None:
    queue = queue_of(letter(1), letter(2, receiver=5), letter(3))

    assert [item.number for item in queue.newest(None, 10)] == [3, 2, 1]
    assert [item.number for item in queue.newest(1, 10)] == [3, 1]
    assert [item.number for item in queue.newest(None, 1)] == [3]


def test_too_many_letters_drop_the_oldest() -> None:
    queue = queue_of(letter(1), letter(2), letter(3), limit=2)

    assert queue.surplus(0) == [1]


def test_letters_grow_too_old() -> None:
    queue = queue_of(letter(1, died_wall_ns=0), letter(2, died_wall_ns=HOUR))

    assert queue.surplus(HOUR) == []
    assert queue.surplus(HOUR + 1) == [1]


def test_a_letter_is_read_back_as_it_was_written() -> None:
    written = letter(4, died_wall_ns=5)

    read = Letter.from_row(4, written.to_row())

    assert read == written


def buried(world: World, worker: ScriptedAgent, count: int) -> None:
    """Have so many tells end as dead letters: one, two, three ..."""
    for number in range(count):
        world.client.tell(worker.id, f"letter {number}")
        turn = worker.turn_of(f"letter {number}")
        worker.fail(turn, NoHandlerError(actor="worker", handler="x", known="none"))


def kept_by(world: World) -> list[str]:
    """Return the methods of the letters that are kept, oldest first; journal and memory agree."""
    kept = world.core.state.letters.letters
    assert list(world.journal.load()["dead_letter"]) == list(kept)
    return [decode_plain(letter.envelope.payload)[0] for letter in kept.values()]


def test_beyond_the_limit_the_oldest_letter_goes_and_is_counted() -> None:
    world = World(dead_letters=2)
    worker = world.spawn("worker")

    buried(world, worker, 3)

    assert kept_by(world) == ["letter 1", "letter 2"]
    assert world.core.statistics()["dead_letters"] == 3
    assert world.core.statistics()["dead_letters_expired"] == 1
    assert world.pending() == 0


def test_a_letter_grows_too_old_though_no_other_comes() -> None:
    world = World(dead_letter_age_s=60)
    buried(world, world.spawn("worker"), 1)

    world.advance(59)
    assert kept_by(world) == ["letter 0"]
    world.advance(3)

    assert kept_by(world) == []
    assert world.core.statistics()["dead_letters_expired"] == 1


def test_a_lower_limit_holds_for_the_letters_of_the_kernel_before() -> None:
    world = World(dead_letters=5)
    buried(world, world.spawn("worker"), 5)
    world.config = world.config.model_copy(update={"dead_letters": 2})

    world.kill_kernel()
    world.advance(2)

    assert kept_by(world) == ["letter 3", "letter 4"]
    assert world.core.statistics()["dead_letters_expired"] == 3


def test_the_body_is_told_only_when_asked_for() -> None:
    described = letter(4).describe()

    assert described["body"] is None
    assert letter(4).describe(with_body=True)["body"] == b"body"
    assert (described["message"], described["reason"]) == (104, "no_handler")
