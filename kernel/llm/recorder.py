"""Records the traffic of LLM requests for the policy lab: when, how long, whose, what is shared.

No text and no token leaves here. Stretches of GROUP_TOKENS of a prompt are named by numbers given
out in the order in which they were first seen; which number means which tokens is known only as
keyed hashes, with a key drawn for this recording and never told. Programs are named likewise.

Promises:
  R1  a request is recorded once, when it has ended, with how it has ended, if it came after the
      beginning and has taken capacity: an engine has begun it, or an endpoint has completed it.
  R2  the kernel never waits: rows leave as commands, the file is the driver's matter
      (kernel/host/trace_file.py), and what it could not write is counted.
  R3  a recording ends with its kernel; the file is whole up to the last batch written.
Cost: a None check a request while nothing is recorded; else about 1 us for GROUP_TOKENS of prompt.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from ipc.errors import UsageError
from ipc.llm import RecordingInfo, Usage
from kernel.calls import Call
from kernel.llm.job import Job
from kernel.llm.request import Request
from kernel.output import RecordTraffic, StartRecording, StopRecording
from kernel.state import KernelState, Peer
from kernel.traffic import Outcome, TraceReport, Traffic

CallHandler = Callable[[Peer, Call, dict[str, Any]], Any]

GROUP_TOKENS = 64
MAX_KNOWN = 1 << 18  # stretches whose number is remembered; the longest unused is forgotten first
DIGEST_BYTES = 12


@dataclass(slots=True)
class Recording:
    """What is recorded, and how far. known: keyed hash of a stretch and all before it -> number."""

    path: str
    began_ns: int
    key: bytes
    known: OrderedDict[bytes, int] = field(default_factory=OrderedDict)
    noted: int = 0
    next_group: int = 0


class Recorder:
    """See the module head."""

    def __init__(self, state: KernelState) -> None:
        self.state = state
        self.recording: Recording | None = None
        self._last = RecordingInfo(state="idle", path="", noted=0, written=0, dropped=0, problem="")

    def calls(self) -> dict[str, tuple[CallHandler, bool]]:
        """Return the system calls: name to (function, agents may make it)."""
        return {
            "record_start": (self.start, False),
            "record_stop": (self.stop, False),
            "record_status": (self.status, False),
        }

    def start(self, peer: Peer, call: Call, arguments: dict[str, Any]) -> RecordingInfo:
        """Begin a recording.

        Raises:
            UsageError: one is under way, or the path is not absolute. Nothing was changed.
        """
        path = str(arguments["path"])
        if self._last["state"] in ("starting", "recording", "stopping"):
            doing = self._last["path"]
            raise UsageError(reason=f"{doing} is being recorded; end it with llmos record stop")
        if not Path(path).is_absolute():
            raise UsageError(reason=f"{path!r} is not absolute; the kernel has another directory")
        key = self.state.rng.randbytes(16)
        self.recording = Recording(path, self.state.now_ns, key)
        self._last = RecordingInfo(
            state="starting", path=path, noted=0, written=0, dropped=0, problem=""
        )
        self.state.output.commands.append(StartRecording(path))
        return self._last

    def stop(self, peer: Peer, call: Call, arguments: dict[str, Any]) -> RecordingInfo:
        """End the recording; what waits is still written.

        Raises:
            UsageError: nothing is recorded.
        """
        if self.recording is None:
            raise UsageError(reason="nothing is recorded; begin with llmos record start FILE")
        self._end("stopping")
        self.state.output.commands.append(StopRecording())
        return self._last

    def status(self, peer: Peer, call: Call, arguments: dict[str, Any]) -> RecordingInfo:
        """Return how the recording does, or how the last one ended."""
        if self.recording is not None:
            self._last["noted"] = self.recording.noted
        return self._last

    def _end(self, state: str) -> None:
        if self.recording is not None:
            self._last["noted"] = self.recording.noted
        self.recording = None
        self._last["state"] = state

    def told(self, report: TraceReport) -> None:
        """Learn from the driver how the file does."""
        last = self._last
        last["written"], last["dropped"] = report.written, report.dropped
        last["problem"] = report.problem
        if not report.is_open:
            self._end("failed" if report.problem else "stopped")
        elif last["state"] == "starting":
            last["state"] = "recording"

    def note(self, job: Job, usage: Usage) -> None:
        """Record a request that has ended well (R1)."""
        self._note(job, "done", usage["prompt_tokens"], usage["completion_tokens"])

    def note_unfinished(self, job: Job, outcome: Outcome) -> None:
        """Record a request that has failed or was cancelled, with the tokens it had got (R1)."""
        request = job.request
        if request is not None and request.first_planned_ns and request.num_prompt:
            self._note(job, outcome, request.num_prompt, request.num_emitted)

    def _note(self, job: Job, outcome: Outcome, prompt_tokens: int, output_tokens: int) -> None:
        recording = self.recording
        request = job.request
        if recording is None or request is None or job.accepted_ns < recording.began_ns:
            return
        recording.noted += 1
        traffic = Traffic(
            arrival_ns=job.accepted_ns - recording.began_ns,
            ended_ns=self.state.now_ns - recording.began_ns,
            program=_program_of(recording, request),
            owner=job.owner,
            call_site=job.call_site,
            priority=job.priority,
            prompt_tokens=prompt_tokens,
            output_tokens=output_tokens,
            groups=groups_of(recording, request.ids[: request.num_prompt], request.extra_key),
            group_tokens=GROUP_TOKENS,
            outcome=outcome,
        )
        self.state.output.commands.append(RecordTraffic(traffic))


def groups_of(recording: Recording, ids: np.ndarray[Any, Any], extra_key: int) -> tuple[int, ...]:
    """Return the numbers of a prompt's full stretches.

    extra_key: only prompts with equal ones share cached blocks, and so numbers.
    """
    data = np.ascontiguousarray(ids, np.int32).data.cast("B")
    size = 4 * GROUP_TOKENS
    known, found = recording.known, []
    digest = extra_key.to_bytes(16, "little", signed=True)
    for start in range(0, len(data) - size + 1, size):
        name = blake2b(digest, key=recording.key, digest_size=DIGEST_BYTES)
        name.update(data[start : start + size])
        digest = name.digest()
        number = known.get(digest)
        if number is None:
            number = known[digest] = recording.next_group
            recording.next_group += 1
            if len(known) > MAX_KNOWN:
                known.popitem(last=False)
        else:
            known.move_to_end(digest)
        found.append(number)
    return tuple(found)


def _program_of(recording: Recording, request: Request) -> int:
    """Return its program's number in this recording; its owner's, for one without a program."""
    name = f"p{request.program}" if request.program else f"o{request.owner}"
    digest = blake2b(name.encode(), key=recording.key, digest_size=6).digest()
    return int.from_bytes(digest, "little")
