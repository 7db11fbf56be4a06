"""The command `spawn`: an agent in a process of its own."""

from __future__ import annotations

import os
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from actors.cli.budget import parse_amounts
from actors.cli.connection import Where, open_client
from actors.cli.guard import guarded
from actors.cli.options import (
    EnvOption,
    HomeOption,
    JsonOption,
    MailboxOption,
    MaxAttemptsOption,
    NameOption,
    NewNameOption,
    TargetArgument,
    ValuesArgument,
)
from actors.cli.render import print_json
from actors.cli.values import parse_arguments, parse_environment
from ipc.errors import BadResourceError

if TYPE_CHECKING:
    from ipc.protocol import SpawnSpec


class Restart(StrEnum):
    """When a supervisor starts the agent again."""

    PERMANENT = "permanent"
    TRANSIENT = "transient"
    TEMPORARY = "temporary"


RestartOption = Annotated[Restart, typer.Option("--restart", help="When to start it again.")]
MemoryOption = Annotated[
    int | None, typer.Option("--memory-mib", min=16, help="Limit of its address space, in MiB.")
]
CpuTimeOption = Annotated[
    int | None, typer.Option("--cpu-s", min=1, help="Limit of its CPU time, in s.")
]
BudgetOption = Annotated[
    list[str] | None,
    typer.Option("--budget", metavar="RESOURCE=AMOUNT", help="Such as tokens=10000; repeat it."),
]
WeightOption = Annotated[
    float | None,
    typer.Option("--weight", help="Share of CPUs, and of turns under `fair_share`: 0.001 to 1000."),
]
ReserveOption = Annotated[
    list[str] | None,
    typer.Option("--reserve", metavar="RESOURCE=AMOUNT,...", help="Such as cpu=1,memory=512MiB."),
]
CpuLimitOption = Annotated[
    float | None, typer.Option("--cpu-limit", metavar="CPUS", help="CPUs it may use at most.")
]


@guarded
def spawn(
    target: TargetArgument,
    values: ValuesArgument = None,
    agent_name: NewNameOption = None,
    restart: RestartOption = Restart.PERMANENT,
    env: EnvOption = None,
    mailbox: MailboxOption = None,
    max_attempts: MaxAttemptsOption = None,
    memory_mib: MemoryOption = None,
    cpu_s: CpuTimeOption = None,
    budget: BudgetOption = None,
    weight: WeightOption = None,
    reserve: ReserveOption = None,
    cpu_limit: CpuLimitOption = None,
    home: HomeOption = None,
    name: NameOption = None,
    as_json: JsonOption = False,
) -> None:
    """Start an agent in a process of its own.

    Example: llmos spawn greeter.py:Greeter greeting=Welcome --as greeter
    """
    args, kwargs = parse_arguments(values or [])
    options = {
        "name": agent_name,
        "restart": restart.value,
        "environment": parse_environment(env or []) or None,
        "mailbox_messages": mailbox,
        "max_attempts": max_attempts,
        "rlimits": _rlimits(memory_mib, cpu_s),
        "weight": weight,
        "reserve": parse_reservation(reserve or []),
        "cpu_limit": cpu_limit,
    }
    limits = parse_amounts(budget or [])
    spec = make_spec_here(target, args, kwargs, options)
    if limits:
        spec["budget"] = {key: amount for key, amount in limits.items() if amount is not None}
    with open_client(Where(home, name)) as client:
        answer = client.system("spawn", spec=spec)
    if as_json:
        print_json(answer)
    else:
        typer.echo(f"{answer['name']} is agent {answer['actor']}")


def make_spec_here(
    target: str, args: list[Any], kwargs: dict[str, Any], options: dict[str, Any]
) -> SpawnSpec:
    """Return the spec of an agent whose modules are found from the working directory.

    Python would find them there, and beside a script; the path of this command says neither.
    """
    # Imported here: see actors/cli/app.py.
    from actors.spawning import make_spec

    spec = make_spec(target, tuple(args), kwargs, **options)
    path = spec.get("path")
    beside = [os.path.dirname(path)] if path else []
    spec["sys_path"] = [*beside, spec["cwd"], *spec["sys_path"]]
    return spec


def parse_reservation(words: list[str]) -> dict[str, str]:
    """Return amounts by resource. Raises BadResourceError: a word without one, or one twice."""
    amounts: dict[str, str] = {}
    for word in (part for text in words for part in text.split(",")):
        key, sign, amount = word.partition("=")
        if not sign or not key or key in amounts:
            problem = "give it once, as RESOURCE=AMOUNT; several with commas between"
            raise BadResourceError(name=word, problem=problem)
        amounts[key] = amount
    return amounts


def _rlimits(memory_mib: int | None, cpu_s: int | None) -> dict[str, int] | None:
    limits = {
        "memory_bytes": memory_mib << 20 if memory_mib else None,
        "cpu_s": cpu_s,
    }
    return {key: value for key, value in limits.items() if value is not None} or None
