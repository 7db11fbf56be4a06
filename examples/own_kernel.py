"""What the examples share: their options, a kernel of their own, and how they report.

    options = read_options(__doc__, "tickets", default=200)
    with own_kernel(options) as client:      # a kernel in a temporary home, the model loaded
        office = client.spawn(Office)
        watch(client, "tickets", office.progress, options.items, options)
        outcome = office.report()
    finish(outcome, options)                 # a table or JSON; exits with 1 if a check failed

An application of yours needs none of this: ``llmos up`` starts a kernel that stays.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors import connect
from actors.cli.demo_kernel import Kernel, Patience, StalledError, check_letters, own_home
from actors.cli.demo_model import demo_model, missing_for_service, use_model
from actors.cli.demo_view import progress_view
from actors.cli.exits import Exit
from actors.cli.guard import report
from actors.client import Client
from ipc.errors import LLMOSError, UsageError
from ipc.home import home_at
from ipc.llm import ModelSpec

POLL_S = 0.1
MAX_CELL = 100  # characters of a table's cell
STALL_S = 180.0  # no progress for so long is a failure; a model may load in between


@dataclass(frozen=True)
class Options:
    """What was said on the command line."""

    items: int
    spec: ModelSpec | None  # of the model; None: the embedded one
    is_trained: bool  # the model was trained for these tasks: it needs no explanations
    as_json: bool


def read_options(head: str | None, items: str, default: int) -> Options:
    """Read the command line. items: what is counted, e.g. "tickets"."""
    parser = argparse.ArgumentParser(description=(head or "").partition("\n")[0])
    parser.add_argument(f"--{items}", dest="items", type=int, default=default, metavar="N",
                        help=f"how many {items} (default: {default})")  # fmt: skip
    parser.add_argument("--model", metavar="PATH", type=Path, help="folder of another model")
    parser.add_argument("--endpoint", metavar="URL", help="an OpenAI-compatible API")
    parser.add_argument("--remote-model", metavar="NAME", help="the endpoint's name for it")
    parser.add_argument("--key-env", metavar="VARIABLE", help="holds the endpoint's key")
    parser.add_argument(
        "--trained",
        action="store_true",
        help="--model is of tools/embedded_model: ask and check it like the embedded one",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    given = parser.parse_args()
    if given.items < 1:
        parser.error(f"--{items} is at least 1")
    try:
        spec = demo_model(given.model, given.endpoint, given.remote_model, given.key_env)
    except UsageError as error:
        parser.error(str(error))
    if given.trained and given.model is None:
        parser.error("--trained is of a --model: give it")
    if missing := missing_for_service(spec):
        parser.exit(1, f"{missing}\n")
    return Options(given.items, spec, spec is None or given.trained, given.json)


@contextmanager
def own_kernel(options: Options) -> Iterator[Client]:
    """Start a kernel in a temporary home, load the model, and yield a client; stop it after.

    Ctrl-C, SIGTERM and SIGHUP end the program with status 130, once all of that is gone. An error
    of LLMOS, within the block too, is shown as `llmos` shows it, and ends it with its exit status.
    """
    try:
        with own_home() as place:
            yield from _client_of(Kernel(home_at(place)), place, options)
    except KeyboardInterrupt:
        sys.exit(Exit.INTERRUPTED)
    except LLMOSError as error:
        sys.exit(report(error, as_json=options.as_json))
    except StalledError as error:
        sys.exit(f"error: {error}")


def _client_of(kernel: Kernel, place: Path, options: Options) -> Iterator[Client]:
    try:
        kernel.start()
        with connect(home=place) as client:
            name = use_model(client, options.spec)
            say(f"a kernel in {place}; loading the model", options)
            client.system("model_load", name=name)
            yield client
    finally:
        kernel.stop()


def say(line: str, options: Options) -> None:
    """Print a line, unless the output is to be JSON."""
    if not options.as_json:
        print(line, flush=True)


def watch(
    client: Client, things: str, progress: Callable[[], int], total: int, options: Options
) -> None:
    """Show progress until all is done.

    Raises:
        StalledError: there is none for long, or a message was given up.
    """
    patience = Patience(STALL_S)
    with progress_view("done", total, things, as_json=options.as_json) as view:
        while (done := progress()) < total:
            check_letters(client)
            patience.note(done)
            view.show(done)
            time.sleep(POLL_S)
        view.show(done)


def finish(outcome: dict[str, Any], options: Options) -> None:
    """Print the outcome; exit with 1 if ``outcome["problems"]`` names any.

    A list of dictionaries becomes a table, every other value a line.
    """
    if options.as_json:
        print(json.dumps(outcome, indent=2, ensure_ascii=False))
    else:
        for key, value in outcome.items():
            if key == "problems":
                continue
            if isinstance(value, list) and value and isinstance(value[0], dict):
                print_rows(value)
            else:
                print(f"{key.replace('_', ' '):<24} {value}")
        print("\n".join(f"PROBLEM: {one}" for one in outcome["problems"]) or "all checks passed")
    sys.exit(1 if outcome["problems"] else 0)


def shorten(text: str, length: int) -> str:
    """Return at most so much of a text."""
    return text if len(text) <= length else text[: length - 1] + "…"


def print_rows(rows: list[dict[str, Any]]) -> None:
    """Print one line a row, in columns as wide as they must be."""
    cells_of = [[shorten(str(cell), MAX_CELL) for cell in row.values()] for row in rows]
    lines = [list(rows[0]), *cells_of]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print("  " + "  ".join(cells).rstrip())
