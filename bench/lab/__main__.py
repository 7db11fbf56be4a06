"""``python -m bench.lab``, which is ``llmos lab``: which policy is best for a load?

run      replay a trace under policies, and compare them
advise   name the best policy for an objective, and say why
programs agent programs of the generator under all policies (bench/lab/program_table.py)
ideal    what order alone could win for such programs (bench/lab/ideal.py)
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from rich.console import Console

from actors.cli.exits import Exit
from actors.cli.guard import report
from bench.lab import arguments, ideal, program_table
from bench.lab.advice import OBJECTIVES, advise
from bench.lab.call import Call
from bench.lab.engine_model import PRESETS, EngineModel, engine_model
from bench.lab.figures import Figures, figures_of
from bench.lab.load import at_load, saturation
from bench.lab.replay import Recorded, Replay
from bench.lab.table import document, draw, print_results
from bench.lab.trace import read_trace
from bench.report import print_json
from ipc.errors import BadTraceError, LLMOSError
from kernel.llm.named_policies import NAMES, policy_by_name
from kernel.llm.scheduler import Admission
from kernel.policy.eviction_names import EVICTION_POLICIES


def main(words: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; errors are told as those of every other command."""
    words = sys.argv[1:] if words is None else words
    try:
        options = make_parser().parse_args(words)
        options.command(options)
        sys.stdout.flush()
    except LLMOSError as error:
        return report(error, as_json="--json" in words)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:  # `| head` has gone; at its exit the interpreter would flush once more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def make_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        prog="llmos lab", description="Replay traffic under scheduling policies, and compare them."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser(
        "run",
        help="replay a trace under policies, and compare them",
        epilog="Example: llmos lab run trace.jsonl.gz --policy fcfs,srpt --load 0.9",
    )
    run.set_defaults(command=run_policies)
    run.add_argument(
        "--policy",
        default="fcfs,least_attained",
        metavar="NAME,...",
        help=f"of {', '.join(NAMES)}; or all (default: fcfs,least_attained)",
    )
    run.add_argument(
        "--plot",
        type=arguments.picture,
        metavar="FILE",
        help=f"draw the comparison; its name ends in {', '.join(arguments.PICTURES)}",
    )
    advice = commands.add_parser(
        "advise",
        help="name the best policy for an objective",
        epilog="Example: llmos lab advise trace.jsonl.gz --objective p99-ttft",
    )
    advice.set_defaults(command=give_advice)
    advice.add_argument(
        "--objective",
        choices=OBJECTIVES,
        default="mean-completion",
        metavar="WHAT",
        help=f"one of {', '.join(OBJECTIVES)} (default: mean-completion)",
    )
    for each in (run, advice):
        add_trace_options(each)
    program_table.add_parser(commands)
    ideal.add_parser(commands)
    return parser


def add_trace_options(parser: argparse.ArgumentParser) -> None:
    """Add what `run` and `advise` have in common."""
    parser.add_argument("trace", type=Path, help="Azure CSV, Mooncake or LLMOS JSON lines; or .gz")
    parser.add_argument(
        "--engine-model",
        default="gpu-8b",
        metavar="NAME|FILE",
        help=f"the engine's cost: {', '.join(PRESETS)}, or a JSON file (default: gpu-8b)",
    )
    parser.add_argument(
        "--load",
        type=arguments.load,
        metavar="SHARE",
        help="scale arrivals to this share of what the engine can do (default: as recorded)",
    )
    parser.add_argument(
        "--eviction",
        choices=sorted(EVICTION_POLICIES),
        default="lru",
        help="which cached KV blocks go first (default: lru)",
    )
    parser.add_argument(
        "--admission",
        choices=get_args(Admission),
        default="known",
        help="admit while there is room for the tokens that are there, or that are expected",
    )
    parser.add_argument(
        "--max-tokens",
        type=arguments.whole("--max-tokens"),
        metavar="N",
        help="what callers allow (default: each call's own length, which then is known to all)",
    )
    parser.add_argument(
        "--limit", type=arguments.whole("--limit"), metavar="N", help="the first N calls only"
    )
    parser.add_argument("--exact", action="store_true", help="plan every single step")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run_policies(options: argparse.Namespace) -> None:
    """Replay a trace under policies, and compare them."""
    names = list(NAMES) if options.policy == "all" else options.policy.split(",")
    results, title = _replayed(options, names)
    if options.plot:
        draw(title, results, options.plot)
    if options.json:
        print_json(document(results))
    else:
        print_results(title, results)


def give_advice(options: argparse.Namespace) -> None:
    """Name the best policy for an objective, and say why."""
    results, title = _replayed(options, list(NAMES))
    advice = advise(results, options.objective)
    if options.json:
        print(json.dumps(asdict(advice), indent=1))
        return
    console = Console(highlight=False)
    console.print(title)
    console.print(f"For {advice.objective}: [bold]{advice.best}[/bold]")
    for reason in advice.reasons:
        console.print(f"  {reason}")


def _replayed(options: argparse.Namespace, names: list[str]) -> tuple[dict[str, Figures], str]:
    for name in names:
        policy_by_name(name)  # an unknown one is refused before anything is computed
    model = engine_model(options.engine_model)
    calls = read_trace(options.trace, options.limit)
    how = "as recorded"
    if options.load is not None:
        per_s = saturation(calls, model)
        calls = at_load(calls, options.load, per_s)
        how = f"at {options.load:g} of {per_s:.3g} calls/s"
    level = "exact" if options.exact else "fast-forward"
    title = f"{options.trace.name}: {len(calls):,} calls {how}; {options.engine_model}; {level}"
    results = {}
    with Console(stderr=True).status("") as status:
        for name in names:
            status.update(name)
            results[name] = _figures(calls, model, name, options)
    return results, title


def _figures(calls: list[Call], model: EngineModel, name: str, options: Any) -> Figures:
    history = Replay(
        Recorded(calls),
        model,
        name,
        is_exact=options.exact,
        eviction=options.eviction,
        admission=options.admission,
        max_tokens=options.max_tokens,
    ).run()
    if not history.outcomes:
        problem = f"the engine model {options.engine_model} can hold none of its calls"
        raise BadTraceError(path=str(options.trace), line=1, problem=problem)
    return figures_of(history)


if __name__ == "__main__":
    sys.exit(main())
