"""How commands print: tables, records and values; to a terminal, a pipe, or as JSON.

Promise: what goes to a pipe has no colours, no boxes and no shortened cells, one record a line.
rich is loaded for terminals only: it costs a fifth of a short command's time.
"""

from __future__ import annotations

import base64
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import typer

from actors.cli.units import dash

MAX_BITS = 14_000  # of an integer; Python writes no more than 4,300 digits


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: its heading and how a row gives its text."""

    heading: str
    text: Callable[[Mapping[str, Any]], Any]
    right: bool = False
    style: Callable[[str], str | None] | None = None


def is_terminal() -> bool:
    """Say whether a person looks at standard output."""
    return sys.stdout.isatty()


def print_json(value: Any) -> None:
    """Print one JSON document."""
    typer.echo(dump_json(value, indent=2))


def dump_json(value: Any, *, indent: int | None = None) -> str:
    """Return the value as JSON that every parser reads, whatever it holds."""
    strict = partial(
        json.dumps, indent=indent, default=to_json, ensure_ascii=False, allow_nan=False
    )
    try:
        return strict(value)
    except (TypeError, ValueError):  # keys that are no text, NaN, integers of 4,300 digits
        return strict(_within_json(value))


def _within_json(value: Any) -> Any:
    """Return the value with what JSON cannot hold as text."""
    if isinstance(value, dict):
        return {_json_key(key): _within_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_within_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        return hex(value)
    if value is None or isinstance(value, str | int | float):
        return value
    return _within_json(to_json(value))


def _json_key(key: Any) -> str:
    return key if isinstance(key, str) else dump_json(key)


def to_json(value: Any) -> Any:
    """Return what stands in JSON for a value JSON has no type for."""
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    # By shape, not by type: numpy is not loaded for this.
    return value.tolist() if hasattr(value, "tolist") else str(value)


def print_json_line(value: Any) -> None:
    """Print one JSON document on one line, for streams of them."""
    typer.echo(dump_json(value))


def print_value(value: Any, *, as_json: bool) -> None:
    """Print what a handler answered: text as it is, None not at all, the rest as JSON."""
    if as_json or not isinstance(value, str | None):
        print_json(value)
    elif value is not None:
        typer.echo(value)


def to_text(value: Any) -> str:
    """Return what is shown of a value in running text: text as it is, the rest as JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else dump_json(value)


def print_table(columns: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> None:
    """Print one line a row below the headings."""
    cells = [[dash(column.text(row)) for column in columns] for row in rows]
    if is_terminal():
        _print_rich_table(columns, cells)
    else:
        for line in plain_lines(columns, cells):
            typer.echo(line)


def print_record(fields: Mapping[str, Any]) -> None:
    """Print one ``name  value`` line a field."""
    width = max(map(len, fields), default=0)
    for name, value in fields.items():
        shown = typer.style(f"{name:<{width}}", dim=True) if is_terminal() else f"{name:<{width}}"
        first, *more = str(dash(value)).splitlines() or [""]
        typer.echo(f"{shown}  {first}")
        for line in more:
            typer.echo(f"{'':<{width}}  {line}")


def plain_lines(columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> list[str]:
    """Return a table as aligned text lines, headings first."""
    grid = [[column.heading for column in columns], *cells]
    widths = [max(len(row[index]) for row in grid) for index in range(len(columns))]
    return ["  ".join(map(_pad, row, widths, columns)).rstrip() for row in grid]


def _pad(text: str, width: int, column: Column) -> str:
    return text.rjust(width) if column.right else text.ljust(width)


def rich_table(columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> Any:
    """Return the table as a rich renderable."""
    # Imported here: see the module head.
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.heading, justify="right" if column.right else "left")
    for row in cells:
        table.add_row(
            *(
                Text(cell, (column.style(cell) if column.style else None) or "")
                for cell, column in zip(row, columns, strict=True)
            )
        )
    return table


def _print_rich_table(columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> None:
    # Imported here: see the module head.
    from rich.console import Console

    Console().print(rich_table(columns, cells))
