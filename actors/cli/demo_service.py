"""`llmos demo`: a customer service at work while the demo kills an agent, the engine, the kernel.

It ends with a table and a check: every ticket solved once, every reply there, and no completion
billed twice. Billing is compared between two books that are kept apart: what the kernels journal
of each answer they give (kernel/llm/served.py), and what the office keeps with each ticket. They
must be equal.
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
from actors.cli.demo_kernel import Kernel, Patience, Tally, check_letters
from actors.cli.demo_model import use_model
from actors.cli.demo_view import View, progress_view
from actors.cli.loading import load_with_progress
from actors.cli.render import print_record
from ipc.llm import ModelSpec
from ipc.start import PACKAGE_ROOT

if TYPE_CHECKING:
    from actors.client import Client

EXAMPLE = Path(PACKAGE_ROOT) / "examples" / "customer_service.py"
TICKETS = 200
POLL_S = 0.1
STALL_S = 180.0  # without any progress for so long, the demo has failed; engines load meanwhile
BILLED = ("completions", "prompt_tokens", "completion_tokens")

Books = dict[str, int]  # by the names in BILLED


@dataclass(slots=True)
class ServiceRun:
    """One day of the office under attack."""

    client: Client
    kernel: Kernel
    view: View
    tally: Tally = field(default_factory=Tally)
    _patience: Patience = field(default_factory=lambda: Patience(STALL_S))
    _office: Any = None

    def work(self, tickets: int, *, is_trained: bool) -> dict[str, Any]:
        """Have all tickets solved, kill three times on the way, and return the office's report.

        Raises:
            StalledError: no progress for STALL_S, or a ticket was given up.
        """
        self.view.say(f"spawn the office, from {EXAMPLE.name}; it spawns seven agents")
        office = self.client.spawn(f"{EXAMPLE}:Office", name="office")
        office.open(tickets, explain=not is_trained)
        # Urgent: else the question waits behind the tickets that come in.
        self._office = office.options(priority=0)
        for part, kill in enumerate((self._kill_agent, self._kill_engine, self._kill_kernel), 1):
            self._watch_until(tickets * part // 5)
            kill()
        self._watch_until(tickets)
        self.tally.collect(self.client)
        report: dict[str, Any] = office.report(is_trained)
        return report

    def _watch_until(self, solved: int) -> None:
        while True:
            seen = self._office.progress()
            self.view.show(seen)
            if seen >= solved:
                return
            check_letters(self.client)
            self._patience.note(seen)
            time.sleep(POLL_S)

    def _kill_agent(self) -> None:
        """SIGKILL the agent with the most mail."""
        engines = {engine["actor"] for engine in self.client.system("llm_status")["engines"]}
        agents = [info for info in self._ps() if info["actor"] not in engines]
        victim = max((one for one in agents if one["name"] != "office"), key=mail_of)
        os.kill(victim["pid"], signal.SIGKILL)
        self.view.say(
            f"SIGKILL agent {victim['name']}, process {victim['pid']}, "
            f"with {mail_of(victim)} tickets in its hands"
        )

    def _kill_engine(self) -> None:
        """SIGKILL the process that computes."""
        (engine, *_) = self.client.system("llm_status")["engines"]
        pids = [info["pid"] for info in self._ps() if info["actor"] == engine["actor"]]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            self.view.say(
                f"SIGKILL the engine, process {pid}, while it computes {engine['running']} "
                "completions; another loads the model"
            )

    def _kill_kernel(self) -> None:
        status = self.client.system("status")
        self.tally.collect(self.client)
        pid = self.kernel.kill()
        self.view.say(
            f"SIGKILL the kernel, process {pid}, with {status['pending_messages']} messages pending"
        )
        self.tally.begin_epoch()
        begin = time.monotonic()
        pid = self.kernel.start()
        elapsed_ms = (time.monotonic() - begin) * 1e3
        self.view.say(f"start the kernel again: process {pid}, {elapsed_ms:.0f} ms")

    def _ps(self) -> list[dict[str, Any]]:
        return [info for info in self.client.system("ps") if info["pid"]]


def mail_of(info: dict[str, Any]) -> int:
    """Return how many messages an agent has not finished with."""
    return int(info["mailbox"])


def run_service(
    tickets: int, spec: ModelSpec | None, place: Path, *, as_json: bool
) -> dict[str, Any]:
    """Run the demo in a home; return what it has shown. spec: None: the embedded model.

    Raises:
        StalledError: no progress for STALL_S, or a ticket was given up.
    """
    say: Callable[[str], None] = (lambda _: None) if as_json else typer.echo
    kernel = Kernel(Where(place).paths())
    try:
        say(f"start a kernel, in {place}")
        kernel.start()
        with open_client(Where(place)) as client:
            say("load the language model")
            load_with_progress(client, {"name": use_model(client, spec)}, is_quiet=as_json)
            begin = time.monotonic()
            with progress_view("office", tickets, "tickets", as_json=as_json) as view:
                run = ServiceRun(client, kernel, view)
                report = run.work(tickets, is_trained=spec is None)
            elapsed_s = time.monotonic() - begin
            billed = books_of(client)
    finally:
        kernel.stop()
    asks_again = spec is not None and "endpoint" in spec
    return {**outcome_of(report, run.tally, billed, elapsed_s), "asks_again": asks_again}


def books_of(client: Client) -> Books:
    """Return what all models have served, counted over all kernels of the home."""
    models = client.system("models")
    return {name: sum(model["served"][name] for model in models) for name in BILLED}


def outcome_of(
    report: dict[str, Any], tally: Tally, billed: Books, elapsed_s: float
) -> dict[str, Any]:
    """Return what the demo has shown, and what is wrong with it."""
    problems = list(report["problems"])
    problems += [
        f"{billed[name]} {name.replace('_', ' ')} were billed, {report[name]} are recorded"
        for name in BILLED
        if billed[name] != report[name]
    ]
    counted = {name: tally.get(name) for name in ("redelivered", "recovered", "restarts")}
    seconds = round(elapsed_s, 1)
    return {**report, **counted, "billed": billed, "seconds": seconds, "problems": problems}


def print_service(outcome: dict[str, Any]) -> None:
    """Print the outcome for people."""
    typer.echo()
    print_record(
        {
            "tickets solved": f"{outcome['solved']:,} of {outcome['tickets']:,}, "
            f"{outcome['solved_again']} twice, in {outcome['seconds']} s",
            "routing accuracy": f"{outcome['routing_accuracy']:.1%}, "
            f"of the urgency {outcome['urgency_accuracy']:.1%}",
            "tokens": f"{outcome['prompt_tokens']:,} read, "
            f"{outcome['completion_tokens']:,} written",
            "cached tokens": f"{outcome['cached_tokens']:,} of those read",
            "time to first token": f"{outcome['first_token_ms']:,} ms (median, waiting included)",
            "redelivered": f"{outcome['redelivered']:,}, after the agent and the kernel died",
            "recovered": f"{outcome['recovered']:,}, from the journal of the killed kernel",
            "completions": f"{outcome['completions']:,} kept with the tickets, "
            f"{outcome['billed']['completions']:,} counted by both kernels",
        }
    )
    if outcome["problems"]:
        for problem in outcome["problems"]:
            typer.secho(f"FAILED: {problem}", fg="red", bold=True, err=True)
    elif outcome["asks_again"]:
        # What an endpoint had computed when its caller died, it may have billed.
        text = "nothing was lost; the endpoint was asked again for answers that were lost"
        typer.secho(text, fg="green", bold=True)
    else:
        typer.secho("nothing was lost, nothing was billed twice", fg="green", bold=True)
