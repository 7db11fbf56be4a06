"""Recorded traffic: what is noted, what is not, and that the lab replays it as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.lab.engine_model import PRESETS
from bench.lab.replay import Recorded, Replay
from bench.lab.trace import read_trace
from ext.wire import Envelope
from ipc.errors import UnknownSessionError, from_wire
from ipc.protocol import Kind
from kernel.host.trace_file import TraceFile
from kernel.llm.recorder import GROUP_TOKENS, Recording, groups_of
from kernel.output import RecordTraffic, StartRecording, StopRecording
from kernel.traffic import TraceReport, Traffic
from tests.chaos.pretend_engine import FACTS, tokens_of
from tests.kernel.llm.engine_world import EngineWorld

PATH = "/traces/day.jsonl"
LONG = "x" * (FACTS["max_context"] // 2)


class RecordedWorld(EngineWorld):
    """A world with a ready engine; `file` writes what the core wants written."""

    def __init__(self, path: Path | None = None) -> None:
        super().__init__()
        self.path = str(path or PATH)
        self.file = TraceFile()
        self.add_model()
        self.ask("warm up", 1)
        self.engine().ready()
        self.engine().run()
        self.commands.clear()

    def ask(self, prompt: str, count: int, **more: Any) -> int:
        return self.generate(self.client, prompt, count, **more)

    def compute(self, prompt: str, count: int, **more: Any) -> None:
        self.ask(prompt, count, **more)
        self.engine().run()

    def traffic(self) -> list[Traffic]:
        return [each.traffic for each in self.commands if isinstance(each, RecordTraffic)]

    def write(self) -> None:
        """Carry out what is to be recorded, as the daemon does."""
        for command in self.commands:
            match command:
                case StartRecording():
                    self.file.start(command.path)
                case RecordTraffic():
                    self.file.write(command.traffic)
                case StopRecording():
                    self.file.stop()
        self.file.close()


def test_nothing_is_recorded_before_the_beginning_and_after_the_end() -> None:
    world = RecordedWorld()
    world.compute("before", 3)

    world.client.system("record_start", path=PATH)
    world.compute("within", 4)
    info = world.client.system("record_stop")
    world.compute("after", 5)

    assert [each.output_tokens for each in world.traffic()] == [4]
    assert (info["state"], info["noted"]) == ("stopping", 1)


def test_a_request_that_came_before_the_beginning_is_not_recorded() -> None:
    world = RecordedWorld()
    world.ask("early", 9)

    world.client.system("record_start", path=PATH)
    world.engine().run()

    assert world.traffic() == []


def test_a_recording_replays_with_the_same_arrivals_and_lengths(tmp_path: Path) -> None:
    world = RecordedWorld(tmp_path / "day.jsonl.gz")
    world.client.system("record_start", path=world.path)
    began_ns = world.now_ns
    arrivals = []
    for prompt, count, priority in ((LONG, 5, 4), (LONG + "y", 7, 1), ("short", 2, 4)):
        world.now_ns += 40_000_000
        arrivals.append(world.now_ns - began_ns)
        world.compute(prompt, count, priority=priority)
    world.client.system("record_stop")
    world.write()

    calls = read_trace(Path(world.path))

    lengths = [len(tokens_of({"prompt": prompt})) // 4 for prompt in (LONG, LONG + "y", "short")]
    assert [call.prompt_tokens for call in calls] == lengths
    assert [call.output_tokens for call in calls] == [5, 7, 2]
    assert [call.priority for call in calls] == [4, 1, 4]
    gaps = np.diff([call.arrival_ns for call in calls]) - np.diff(arrivals)
    assert np.abs(gaps).max() < 1_000_000  # of steps in between, on the world's clock
    replayed = Replay(Recorded(calls), PRESETS["gpu-8b"], "fcfs").run().outcomes
    assert [(each.call.arrival_ns, each.call.output_tokens) for each in replayed] == [
        (call.arrival_ns, call.output_tokens) for call in calls
    ]


def test_requests_that_fail_or_are_cancelled_are_recorded_with_what_they_had_got(
    tmp_path: Path,
) -> None:
    world = RecordedWorld(tmp_path / "day.jsonl")
    world.client.system("record_start", path=world.path)
    session = world.client.system("llm_session")["session"]
    cancelled, failed = world.ask("cancelled", 50), world.ask("failed", 50, session=session)
    world.ask("waits", 9, session=session)  # no engine begins it: it has taken nothing
    for _ in range(12):
        world.engine().step()
    world.client.send(Envelope(Kind.CANCEL, world.client.id, correlation=cancelled))
    world.client.system("llm_close", session=session)
    world.engine().run()
    world.ask("too late", 50, deadline=1_000)
    world.compute("done", 3)
    world.client.system("record_stop")
    world.write()

    calls = read_trace(Path(world.path))

    assert from_wire(world.client.answer(failed)).code == UnknownSessionError.code
    found = {call.outcome: call.output_tokens for call in calls}
    assert len(calls) == len(found) == 3
    assert found["done"] == 3
    assert 0 < found["failed"] < 50
    assert 0 < found["cancelled"] < 50


def test_prompts_share_as_many_leading_groups_as_tokens_allow() -> None:
    recording = Recording(PATH, 0, bytes(16))
    base = np.arange(5 * GROUP_TOKENS, dtype=np.int32)
    other = base.copy()
    other[2 * GROUP_TOKENS + 1] = -1

    first, again, changed, short, elsewhere = (
        groups_of(recording, base, 1),
        groups_of(recording, base, 1),
        groups_of(recording, other, 1),
        groups_of(recording, base[: 3 * GROUP_TOKENS - 1], 1),
        groups_of(recording, base, 2),
    )

    assert first == again == (0, 1, 2, 3, 4)
    assert changed[:2] == (0, 1)
    assert not set(changed[2:]) & set(first)
    assert short == (0, 1)
    assert not set(elsewhere) & set(first)


def test_groups_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kernel.llm.recorder.MAX_KNOWN", 3)
    recording = Recording(PATH, 0, bytes(16))

    groups_of(recording, np.arange(9 * GROUP_TOKENS, dtype=np.int32), 0)

    assert len(recording.known) == 3


def test_a_second_recording_is_refused_until_the_first_has_ended() -> None:
    world = RecordedWorld()
    world.client.system("record_start", path=PATH)

    refusal = world.client.system("record_start", path="/other")
    world.client.system("record_stop")
    world.core.recorded(TraceReport(written=0, dropped=0, is_open=False))
    world.client.system("record_start", path="/other")

    started = [each.path for each in world.commands if isinstance(each, StartRecording)]
    assert started == [PATH, "/other"]
    assert f"{PATH} is being recorded" in from_wire(refusal).fields["reason"]


@pytest.mark.parametrize("path", ["day.jsonl", ""])
def test_a_path_that_is_not_absolute_is_refused(path: str) -> None:
    refusal = RecordedWorld().client.system("record_start", path=path)

    assert "not absolute" in from_wire(refusal).fields["reason"]


def test_a_recording_whose_file_fails_has_ended_and_says_why() -> None:
    world = RecordedWorld()
    world.client.system("record_start", path=PATH)

    world.core.recorded(TraceReport(written=1, dropped=2, is_open=False, problem="disk full"))

    info = world.client.system("record_status")
    assert (info["state"], info["problem"], info["dropped"]) == ("failed", "disk full", 2)
    refusal = world.client.system("record_stop")
    assert "nothing is recorded" in from_wire(refusal).fields["reason"]
