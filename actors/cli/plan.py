"""The command `plan`: how many servers a load needs, or how a number of them would do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

import typer

from actors.cli.connection import Where
from actors.cli.guard import guarded
from actors.cli.live_load import measured_load
from actors.cli.options import LONGEST_S, HomeOption, JsonOption, NameOption
from actors.cli.render import Column, print_json, print_record, print_table
from actors.planning.capacity import Goal, Plan, plan_servers
from actors.planning.percentiles import time_in_system_s
from actors.planning.quantities import parse_duration, parse_rate
from actors.planning.queueing import Load, Steady, m_g_1, m_m_c, m_m_c_k
from ipc.errors import UnstableQueueError

SHOWN_SHARES = (0.5, 0.9, 0.99)
SHOWN_BEYOND = 2  # servers more than needed, so that one sees what they would bring


Arrival = Annotated[
    str | None,
    typer.Option("--arrival", metavar="RATE", help="Requests that come: 1000/s, 90/min."),
]
Service = Annotated[
    str | None,
    typer.Option(
        "--service", metavar="RATE", help="What one server does: 500/s, or 2ms a request."
    ),
]
Live = Annotated[bool, typer.Option("--live", help="Take both from the running kernel's turns.")]
Window = Annotated[
    float,
    typer.Option(
        "--window", metavar="S", min=0.1, max=LONGEST_S, help="With --live: measure so long."
    ),
]
Mean = Annotated[
    str | None, typer.Option("--mean", metavar="TIME", help="Goal: the mean time in the system.")
]
Servers = Annotated[
    int | None,
    typer.Option("--servers", metavar="N", help="Describe N servers instead of a search."),
]
Room = Annotated[
    int | None,
    typer.Option("--room", metavar="K", help="With --servers: K requests fit, others are refused."),
]
Variation = Annotated[
    float | None,
    typer.Option(
        "--variation",
        metavar="CV",
        help="One server whose service time has this deviation over its mean (0: constant).",
    ),
]


def _goal_option(text: str) -> Any:
    return typer.Option(metavar="TIME", help=f"Goal: {text} of requests done in TIME (20ms, 2s).")


@guarded
def plan(
    arrival: Arrival = None,
    service: Service = None,
    live: Live = False,
    window: Window = 5.0,
    mean: Mean = None,
    p50: Annotated[str | None, _goal_option("half")] = None,
    p90: Annotated[str | None, _goal_option("90 %")] = None,
    p99: Annotated[str | None, _goal_option("99 %")] = None,
    p999: Annotated[str | None, _goal_option("99.9 %")] = None,
    servers: Servers = None,
    room: Room = None,
    variation: Variation = None,
    home: HomeOption = None,
    name: NameOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say how many servers a load needs to meet goals on the time in the system.

    Requests come at random (Poisson), servers take an exponential time and share one line; see
    --room and --variation for two other queues. A load they cannot keep up with is an error that
    says how fast the queue grows. With --live the requests are agents' turns, the servers turn
    slots, and a turn's service is the time it holds one.

    Example: llmos plan --arrival 1000/s --service 500/s --p99 20ms
    """
    goals = _goals({None: mean, 0.5: p50, 0.9: p90, 0.99: p99, 0.999: p999})
    waiting = 0
    if live:
        _refuse("--live", arrival=arrival, service=service)
        load, waiting = measured_load(Where(home, name), window)
    else:
        load = _typed_load(arrival, service)
    if variation is not None:
        _refuse("--variation", goals=goals, servers=servers, room=room)
        _show_one("M/G/1", m_g_1(load, variation), as_json=as_json)
    elif room is not None:
        _refuse("--room", goals=goals)
        if servers is None:
            raise typer.BadParameter("--room needs --servers")
        _show_one("M/M/c/K", m_m_c_k(load, servers, room), as_json=as_json)
    elif servers is not None:
        _show_one("M/M/c", m_m_c(load, servers), as_json=as_json, goals=goals)
    else:
        _show_search(load, goals, as_json=as_json)
    if waiting and not as_json:
        typer.echo(f"\n{waiting} messages are unfinished now: they come on top of this load")


def _goals(limits: Mapping[float | None, str | None]) -> list[Goal]:
    """Return the goals that were given. limits: time by share of requests; None: the mean."""
    return [
        Goal(parse_duration(f"--{Goal(1.0, share).name}", text), share)
        for share, text in limits.items()
        if text is not None
    ]


def _typed_load(arrival: str | None, service: str | None) -> Load:
    if arrival is None or service is None:
        raise typer.BadParameter("--arrival and --service are needed, or --live")
    return Load(parse_rate("--arrival", arrival), parse_rate("--service", service))


def _refuse(option: str, **others: Any) -> None:
    """Refuse options that mean nothing beside this one."""
    wrong = [f"--{other}" for other, value in others.items() if value]
    if wrong:
        raise typer.BadParameter(f"{option} does not go with {', '.join(wrong)}")


def _show_one(
    model: str, steady: Steady, *, as_json: bool, goals: list[Goal] | None = None
) -> None:
    """Print one queue; its percentiles only where the model has closed ones."""
    row = _row(steady, goals or [], is_m_m_c=model == "M/M/c")
    if as_json:
        print_json({"model": model, **row})
        return
    fields = {
        "model": model,
        "servers": row["servers"],
        **{column.heading.lower(): column.text(row) for column in _columns(goals or [])[1:]},
        "in system": f"{row['number_in_system']:.4g}",
        "waiting": f"{row['number_waiting']:.4g}",
        "refused": _percent(row["refusal_probability"]),
    }
    print_record({name: value for name, value in fields.items() if value is not None})


def _show_search(load: Load, goals: list[Goal], *, as_json: bool) -> None:
    """Print the answer, and beside it fewer and more servers."""
    found = plan_servers(load, goals)
    rows = [
        _row(m_m_c(load, number), goals, is_m_m_c=True)
        for number in range(found.needed, found.needed + SHOWN_BEYOND + 1)
    ]
    fewer = [
        _fewer(load, number, goals) for number in _fewer_numbers(found.min_stable, found.needed)
    ]
    if as_json:
        goals_given = [{"name": goal.name, "limit_s": goal.limit_s} for goal in goals]
        print_json(
            {
                "model": "M/M/c",
                "arrival_per_s": load.arrival,
                "service_per_s": load.service,
                "goals": goals_given,
                "needed": found.needed,
                "min_stable": found.min_stable,
                "servers": [*fewer, *rows],
            }
        )
        return
    print_record(_answer(load, goals, found))
    typer.echo()
    print_table(_columns(goals), [*fewer, *rows])


def _answer(load: Load, goals: list[Goal], found: Plan) -> dict[str, str]:
    named = ", ".join(f"{goal.name} <= {_time(goal.limit_s)}" for goal in goals)
    return {
        "needed": f"{found.needed} servers",
        "load": f"{load.offered:.4g} busy servers on average: "
        f"{load.arrival:g}/s of {_time(load.service_time_s)} each",
        "mean": f"{_time(found.steady.time_in_system_s)} in the system",
        "goals": named or "none: these keep up",
    }


def _fewer_numbers(min_stable: int, needed: int) -> list[int]:
    """Return the numbers shown below the answer: the last unstable one, and one that misses."""
    shown = {min_stable - 1, min_stable, needed - 1}
    return sorted(number for number in shown if 0 < number < needed)


def _fewer(load: Load, servers: int, goals: list[Goal]) -> dict[str, Any]:
    try:
        return _row(m_m_c(load, servers), goals, is_m_m_c=True)
    except UnstableQueueError as error:
        return {"servers": servers, "is_stable": False, **error.fields}


def _row(steady: Steady, goals: list[Goal], *, is_m_m_c: bool) -> dict[str, Any]:
    """Return one number of servers as a flat record."""
    row = {"is_stable": True, **asdict(steady)}
    load = row.pop("load")
    row |= {"arrival_per_s": load["arrival"], "service_per_s": load["service"]}
    if is_m_m_c:
        shares = {*SHOWN_SHARES, *(goal.share for goal in goals if goal.share is not None)}
        row["percentiles_s"] = {
            Goal(1.0, share).name: time_in_system_s(steady, share) for share in sorted(shares)
        }
        row["meets_goals"] = all(goal.is_met(steady) for goal in goals)
    return row


def _columns(goals: list[Goal]) -> list[Column]:
    shares = sorted({*SHOWN_SHARES, *(goal.share for goal in goals if goal.share is not None)})
    names = [Goal(1.0, share).name for share in shares]
    return [
        Column("SERVERS", lambda row: row["servers"], right=True),
        Column("BUSY", lambda row: _of(row, "utilisation", _percent), right=True),
        Column("WAIT", lambda row: _of(row, "wait_probability", _percent), right=True),
        Column("MEAN WAIT", lambda row: _of(row, "waiting_time_s", _time), right=True),
        Column("MEAN TIME", lambda row: _of(row, "time_in_system_s", _time), right=True),
        *(_percentile_column(name) for name in names),
        Column("GOALS", _verdict),
    ]


def _percentile_column(name: str) -> Column:
    return Column(
        name.upper(),
        lambda row: _time(row["percentiles_s"][name]) if "percentiles_s" in row else None,
        right=True,
    )


def _verdict(row: Mapping[str, Any]) -> str | None:
    if not row["is_stable"]:
        return f"not stable: {row['waiting_after_60s']} wait after a minute"
    met = row.get("meets_goals")
    return None if met is None else "met" if met else "missed"


def _of(row: Mapping[str, Any], key: str, show: Any) -> str | None:
    return show(row[key]) if key in row else None


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %"


def _time(seconds: float) -> str:
    """Return a time with four digits, in the unit that leaves a number above one."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.4g} {unit}"
    return f"{seconds * 1e9:.4g} ns"
