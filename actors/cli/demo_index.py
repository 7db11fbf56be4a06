"""`llmos demo --index`: five agents index the standard library while the demo kills them.

It ends with a table and a check: the totals must equal those of one process that counts alone
(actors/cli/demo_count.py). It needs no language model.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from actors.cli.connection import Where, open_client
from actors.cli.demo_count import Totals, count_alone, python_files, standard_library
from actors.cli.demo_kernel import Kernel, Patience, Tally, check_letters
from actors.cli.demo_view import View, progress_view
from actors.cli.render import print_record
from ipc.start import PACKAGE_ROOT

if TYPE_CHECKING:
    from actors.client import Client

EXAMPLE = Path(PACKAGE_ROOT) / "examples" / "stdlib_index.py"
POLL_S = 0.1
STALL_S = 60.0  # without any progress for so long, the demo has failed

Progress = dict[str, int]


@dataclass(slots=True)
class IndexRun:
    """One indexing of a folder under attack."""

    client: Client
    kernel: Kernel
    view: View
    tally: Tally = field(default_factory=Tally)
    _patience: Patience = field(default_factory=lambda: Patience(STALL_S))
    _coordinator: Any = None

    def index(self, root: str, num_files: int) -> Progress:
        """Index the folder, kill a worker and the kernel half-way, and return the totals.

        Raises:
            StalledError: no progress for a minute.
        """
        self.view.say(f"spawn the coordinator, from {EXAMPLE.name}; it spawns four workers")
        coordinator = self.client.spawn(f"{EXAMPLE}:Coordinator", name="index")
        coordinator.start(root)
        # Urgent: else the question waits behind all the counts that wait.
        self._coordinator = coordinator.options(priority=0)
        self._watch_until(lambda seen: seen["files"] * 2 >= num_files)
        self._kill_worker()
        self._watch_until(lambda seen: seen["files"] * 5 >= num_files * 3)
        self._kill_kernel()
        totals = self._watch_until(is_done)
        self.tally.collect(self.client)
        return totals

    def _watch_until(self, reached: Callable[[Progress], bool]) -> Progress:
        while True:
            seen: Progress = self._coordinator.progress()
            self.view.show(seen["files"])
            self._patience.note(seen)
            if reached(seen):
                return seen
            check_letters(self.client)
            time.sleep(POLL_S)

    def _kill_worker(self) -> None:
        """SIGKILL the worker with the most mail."""
        workers = [info for info in self.client.system("ps") if info["name"] != "index"]
        victim = max(workers, key=lambda info: info["mailbox"])
        os.kill(victim["pid"], signal.SIGKILL)
        self.view.say(
            f"SIGKILL {victim['name']}, process {victim['pid']}, "
            f"with {victim['mailbox']} messages in its mailbox"
        )

    def _kill_kernel(self) -> None:
        self.tally.collect(self.client)
        status = self.client.system("status")
        pid = self.kernel.kill()
        self.view.say(
            f"SIGKILL the kernel, process {pid}, with {status['pending_messages']} pending"
        )
        self.tally.begin_epoch()
        begin = time.monotonic()
        pid = self.kernel.start()
        elapsed_ms = (time.monotonic() - begin) * 1e3
        self.view.say(f"start the kernel again: process {pid}, {elapsed_ms:.0f} ms")


def is_done(seen: Progress) -> bool:
    """Say whether every folder was read and every file that was found was counted."""
    return seen["folders"] == 0 and seen["files"] == seen["found"]


def run_index(root: Path | None, place: Path, *, as_json: bool) -> dict[str, Any]:
    """Run the demo in a home; return what it has shown. Raises StalledError."""
    folder = str((root or Path(standard_library())).resolve())
    paths = sorted(python_files(folder))
    kernel = Kernel(Where(place).paths())
    try:
        with progress_view("five agents", len(paths), "files", as_json=as_json) as view:
            view.say(f"{len(paths)} Python files in {folder}")
            view.say(f"start a kernel, in {place}")
            kernel.start()
            with open_client(Where(place)) as client:
                run = IndexRun(client, kernel, view)
                seen = run.index(folder, len(paths))
    finally:
        kernel.stop()
    with progress_view("one process", len(paths), "files", as_json=as_json) as view:
        view.say("count once more, in one process without messages")
        alone = count_alone(paths, view.show)
    return outcome_of(seen, run.tally, alone)


def outcome_of(seen: Progress, tally: Tally, alone: Totals) -> dict[str, Any]:
    """Return what the demo has shown."""
    expected = {
        "files": alone.files,
        "identifiers": alone.identifiers,
        "fingerprint": alone.fingerprint,
    }
    return {
        "files": seen["files"],
        "identifiers": seen["identifiers"],
        "fingerprint": seen["fingerprint"],
        "messages": seen["messages"],
        "redelivered": tally.get("redelivered"),
        "recovered": tally.get("recovered"),
        "restarts": tally.get("restarts"),
        "expected": expected,
        "equal": expected == {key: seen[key] for key in expected},
    }


def print_index(outcome: dict[str, Any]) -> None:
    """Print the outcome for people."""
    expected = outcome["expected"]
    typer.echo()
    print_record(
        {
            "files": f"{outcome['files']:,}",
            "identifiers counted": f"{outcome['identifiers']:,}",
            "messages sent": f"{outcome['messages']:,}",
            "redelivered": f"{outcome['redelivered']:,}, after the worker and the kernel died",
            "recovered": f"{outcome['recovered']:,}, from the journal of the killed kernel",
            "one process alone": f"{expected['files']:,} files, {expected['identifiers']:,} names",
            "fingerprint": f"{outcome['fingerprint']:x}, alone {expected['fingerprint']:x}",
        }
    )
    if outcome["equal"]:
        typer.secho("equal: nothing was lost, nothing was done twice", fg="green", bold=True)
    else:
        typer.secho("NOT EQUAL: this is a bug in LLMOS", fg="red", bold=True, err=True)
