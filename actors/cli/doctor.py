"""The command `doctor`: can this machine run LLMOS, and if not, what is to be done."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import typer

from actors.cli import checks, live_checks
from actors.cli.checks import Check, Finding
from actors.cli.connection import Where
from actors.cli.exits import Exit
from actors.cli.guard import guarded
from actors.cli.options import HomeOption, JsonOption, NameOption
from actors.cli.render import Column, print_json, print_table
from ipc.home import Home

CHECKS: tuple[Check, ...] = (
    checks.python_version,
    checks.extension,
    checks.sqlite,
    checks.journal,
    checks.disk,
    checks.permissions,
    checks.open_files,
    checks.processes,
    checks.shadows,
    live_checks.kernel,
    live_checks.limits,
    live_checks.stale_socket,
    live_checks.process_start,
)
STYLES = {"ok": "green", "warning": "yellow", "failed": "bold red"}

COLUMNS = (
    Column("CHECK", lambda row: row["check"]),
    Column("STATE", lambda row: row["state"], style=STYLES.get),
    Column("FOUND", lambda row: row["detail"]),
)


@guarded
def doctor(home: HomeOption = None, name: NameOption = None, as_json: JsonOption = False) -> None:
    """Check that this machine can run LLMOS, and say what to do where it cannot.

    Example: llmos doctor
    """
    findings = examine(CHECKS, Where(home, name).paths())
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        print_findings([asdict(finding) for finding in findings])
    if any(finding.state == "failed" for finding in findings):
        raise typer.Exit(Exit.FAILED)


def examine(chosen: tuple[Check, ...], home: Home) -> list[Finding]:
    """Return what each check finds; one that breaks has failed."""
    return [_examined(check, home) for check in chosen]


def _examined(check: Check, home: Home) -> Finding:
    try:
        return check(home)
    except Exception as error:  # the boundary: whatever breaks here is what the user asks about
        name = check.__name__.replace("_", " ")
        return Finding(name, "failed", f"{type(error).__name__}: {error}")


def print_findings(findings: list[dict[str, Any]]) -> None:
    """Print the table, then what can be done."""
    print_table(COLUMNS, findings)
    for finding in findings:
        if finding["remedy"]:
            typer.echo(f"{finding['check']}: {finding['remedy']}")
