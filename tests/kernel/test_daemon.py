"""kernel/daemon.py around a core of a few lines: the loop, the output rule, its commands."""

import socket
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import structlog
import zmq

from ext.wire import Envelope
from ipc.clock import SystemClock
from ipc.envelope import decode, encode
from ipc.errors import JournalWriteError
from kernel.daemon import Daemon
from kernel.host.activity import Activity
from kernel.host.edge import Edge
from kernel.host.launcher import Exited, Inspected, Started
from kernel.host.watcher import Watcher
from kernel.journal.in_memory import MemoryJournal
from kernel.output import (
    Command,
    ContinueProcess,
    KillProcess,
    LimitCpu,
    Notice,
    Output,
    Shutdown,
    StartProcess,
    StopProcess,
    WatchProcess,
)
from kernel.resources.samples import Samples
from tests.kernel.resources.looks import samples


class EchoCore:
    """Answers each batch with itself and journals its first message; notes what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.output = Output()
        self.due_ns: int | None = None
        self.commands: list[Command] = []
        self.kills_on_receipt = False
        self.counters: dict[str, int] = {}

    def statistics(self) -> dict[str, int]:
        return self.counters

    def begin(self, monotonic_ns: int, wall_ns: int) -> None:
        self.output = Output()
        self.output.commands = self.commands
        self.commands = []
        if self.due_ns is not None and self.due_ns <= monotonic_ns:
            self.told.append("due")
            self.due_ns = None

    def receive(self, route: bytes, envelopes: list[Envelope]) -> None:
        self.told.append(envelopes[0].message)
        self.output.changes.put("message", envelopes[0].message, (envelopes[0], 1, 0))
        self.output.frames.append((route, envelopes))
        if self.kills_on_receipt:
            self.output.commands.append(KillProcess(1, 1, None, None))

    def process_started(self, actor: int, incarnation: int, pid: int, start_time: int) -> None:
        self.told.append(("started", actor, incarnation, pid, start_time))

    def process_exited(
        self, actor: int, incarnation: int, reason: str, cpu_ns: int | None = None
    ) -> None:
        self.told.append(("exited", actor, incarnation, reason))

    def process_inspected(self, actor: int, incarnation: int, **seen: Any) -> None:
        self.told.append(("inspected", actor, incarnation, seen))

    def storage(self, free_bytes: int) -> None:
        self.told.append(("storage", free_bytes))

    def sampled(self, samples: Samples) -> None:
        self.told.append(("sampled", samples))

    def request_shutdown(self) -> None:
        self.output.commands.append(Shutdown())

    def finish(self) -> Output:
        return self.output

    def next_due_ns(self) -> int | None:
        return self.due_ns


class NoteLauncher:
    """Stands for kernel.launcher.Launcher; notes commands and gives events set by the test."""

    def __init__(self, note: Callable[[Any], None]) -> None:
        self._note = note
        self.events: list[Started | Exited] = []

    @property
    def has_events(self) -> bool:
        return bool(self.events)

    def take_events(self) -> list[Started | Exited]:
        events, self.events = self.events, []
        return events

    def start(self, command: StartProcess) -> None:
        self._note(command)

    watch = kill = suspend = resume = limit_cpu = start

    def roots(self) -> list[Any]:
        return []

    def tick(self) -> None:
        pass


class NoteJournal(MemoryJournal):
    """Notes commits; ``problem`` makes the next one fail."""

    def __init__(self, note: Callable[[Any], None]) -> None:
        super().__init__()
        self._note = note
        self.problem: str | None = None

    def commit(self, changes: Any) -> None:
        if self.problem:
            raise JournalWriteError(path="journal", problem=self.problem)
        super().commit(changes)
        if changes:
            self._note("commit")


class NoteEdge(Edge):
    """Notes what it sends."""

    def __init__(self, endpoint: str, note: Callable[[Any], None]) -> None:
        super().__init__(endpoint, max_payload=1 << 20)
        self._note = note

    def send(self, route: bytes, batch: list[Envelope]) -> bool:
        self._note("send")
        return super().send(route, batch)


class Stage:
    def __init__(self, endpoint: str) -> None:
        self.notes: list[Any] = []
        self.core = EchoCore()
        self.journal = NoteJournal(self.notes.append)
        self.edge = NoteEdge(endpoint, self.notes.append)
        self.launcher: Any = NoteLauncher(self.notes.append)
        self.watcher = Watcher()
        self.daemon = Daemon(
            self.core,
            journal=self.journal,
            edge=self.edge,
            launcher=self.launcher,
            watcher=self.watcher,
            clock=SystemClock(),
            free_bytes=lambda: 123,
        )
        self.context = zmq.Context()
        self.peer = self.context.socket(zmq.DEALER)
        self.peer.connect(endpoint)

    def send(self, *numbers: int) -> None:
        batch = [Envelope(10, 1, 2, b"hi", message=number) for number in numbers]
        self.peer.send_multipart(encode(batch))

    def turn_until(self, happened: Callable[[], bool]) -> None:
        while not happened():
            self.daemon.turn()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(f"ipc://{tmp_path}/s")
    yield stage
    stage.peer.close()
    stage.context.destroy(linger=0)
    stage.edge.close()
    stage.watcher.close()


def test_the_core_is_told_what_was_sampled(stage: Stage) -> None:
    look = samples(1)

    class OneLook:
        def exchange(self, roots: Any) -> Samples | None:
            return look

    monitor: Any = OneLook()
    stage.daemon._monitor = monitor

    stage.turn_until(lambda: ("sampled", look) in stage.core.told)

    assert stage.core.told.count(("sampled", look)) == 1


def test_nothing_is_sent_before_it_is_committed(stage: Stage) -> None:
    stage.send(5, 6)
    stage.turn_until(lambda: 5 in stage.core.told)

    assert stage.notes == ["commit", "send"]
    assert [e.message for e in decode(stage.peer.recv_multipart())] == [5, 6]
    assert list(stage.journal.load()["message"]) == [5]


def test_a_failed_commit_ends_the_loop_before_anything_is_emitted(stage: Stage) -> None:
    stage.journal.problem = "disk full"
    stage.core.kills_on_receipt = True
    stage.send(5)

    with pytest.raises(JournalWriteError, match="disk full"):
        stage.turn_until(lambda: False)

    assert stage.notes == []


def test_commands_run_after_the_commit(stage: Stage) -> None:
    commands: list[Command] = [
        StartProcess(1, 1, "t", "n", {}),
        KillProcess(2, 1, 10, 20),
        WatchProcess(3, 1, 11, 21),
        StopProcess(4, 1, 12, 22),
        ContinueProcess(4, 1, 12, 22),
        LimitCpu(4, 1, 12, 22, 7),
    ]
    stage.daemon.turn()  # the first tick
    stage.send(1)
    stage.core.commands = list(commands)
    stage.turn_until(lambda: len(stage.notes) >= 3)
    stage.turn_until(lambda: "send" in stage.notes)

    assert [note for note in stage.notes if note not in ("commit", "send")] == commands


def test_a_notice_of_the_core_is_logged(stage: Stage) -> None:
    facts = {"name": "writer", "used": 8, "limit": 10}
    stage.core.commands = [Notice("budget_warning", facts)]
    stage.send(1)
    with structlog.testing.capture_logs() as logs:
        stage.turn_until(lambda: bool(logs))

    assert logs == [{"event": "budget_warning", "log_level": "warning", **facts}]


def test_process_events_reach_the_core(stage: Stage) -> None:
    seen = Activity(is_stopped=False, wants_cpu=True, cpu_ns=7)
    stage.launcher.events = [Started(1, 2, 3, 4), Inspected(1, 2, seen), Exited(1, 2, "exit 0")]
    stage.daemon.turn()

    assert ("started", 1, 2, 3, 4) in stage.core.told
    assert ("exited", 1, 2, "exit 0") in stage.core.told
    assert ("inspected", 1, 2, asdict(seen)) in stage.core.told


def test_the_core_is_woken_when_it_is_due_and_told_of_the_disk(stage: Stage) -> None:
    stage.daemon.turn()
    stage.core.due_ns = SystemClock().monotonic_ns() + 2_000_000
    stage.turn_until(lambda: "due" in stage.core.told)

    assert stage.core.told == [("storage", 123), "due"]


def test_dead_letters_that_were_dropped_are_logged(stage: Stage) -> None:
    with structlog.testing.capture_logs() as logs:
        stage.daemon.turn()
        stage.core.counters["dead_letters_expired"] = 3
        stage.daemon._next_tick_ns = 0
        stage.daemon.turn()

    (line,) = [line for line in logs if line["event"] == "dead_letters_expired"]
    assert (line["log_level"], line["new"], line["total"]) == ("warning", 3, 3)


def test_a_descriptor_is_looked_at_while_the_socket_is_busy(stage: Stage) -> None:
    ours, theirs = socket.socketpair()
    seen: list[int] = []
    stage.watcher.add(ours.fileno(), lambda: seen.append(len(ours.recv(1))))
    theirs.send(b"!")

    for number in range(1, 5000):  # there is always more to read
        stage.send(number)
    stage.turn_until(lambda: bool(seen))

    assert seen == [1]
    stage.watcher.remove(ours.fileno())
    ours.close()
    theirs.close()


def test_shutdown_leaves_the_loop_when_the_core_says_so(stage: Stage) -> None:
    stage.daemon.request_shutdown()
    stage.daemon.run()

    assert stage.notes == []


def test_leaving_at_once_asks_nobody(stage: Stage) -> None:
    stage.daemon.leave()
    stage.daemon.run()

    assert stage.core.told == []
