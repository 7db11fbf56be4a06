"""The boundary of every command: errors become one message, one piece of advice, one exit code.

Promise: a person never sees a traceback of ours unless it is a bug of ours, or LLMOS_DEBUG is
set; the traceback of their own code is always shown. With --json the error is JSON, on stderr.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn, ParamSpec

import typer

from actors.cli.exits import Exit, advice_for, exit_for
from ipc.errors import LLMOSError

P = ParamSpec("P")
BUG_ADVICE = "this is a bug in LLMOS; run again with LLMOS_DEBUG=1 and report what is shown"


def guarded(command: Callable[P, None]) -> Callable[P, None]:
    """Return the command with its errors turned into messages and exit codes."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
            sys.stdout.flush()
        except LLMOSError as error:
            fail(error, as_json=bool(kwargs.get("as_json")))
        except KeyboardInterrupt:
            raise typer.Exit(Exit.INTERRUPTED) from None
        except BrokenPipeError:
            _leave_broken_pipe()
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except Exception as error:
            _bug(error)

    return run


def fail(error: LLMOSError, *, as_json: bool) -> NoReturn:
    """Print the error with what can be done about it, and end with its exit code."""
    raise typer.Exit(report(error, as_json=as_json))


def report(error: LLMOSError, *, as_json: bool) -> Exit:
    """Print the error with what can be done about it; return its exit code."""
    code = exit_for(error)
    if as_json:
        _print_json(error, code)
    else:
        show_error(error)
    if os.environ.get("LLMOS_DEBUG"):
        traceback.print_exc()
    return code


def user_traceback(error: LLMOSError) -> str | None:
    """Return the traceback of the agent's own code that the error carries, if any."""
    text = error.fields.get("traceback")
    return str(text).rstrip() if text else None


def summary(error: LLMOSError) -> str:
    """Return the error's text without the traceback some classes append to it."""
    return str(error.args[0])


def show_error(error: LLMOSError) -> None:
    """Print the error with what can be done about it, on standard error."""
    trace, advice = user_traceback(error), advice_for(error)
    if trace:
        typer.secho(trace, err=True, dim=True)
    typer.secho("error: ", err=True, fg="red", bold=True, nl=False)
    typer.echo(summary(error), err=True)
    if advice:
        typer.secho("hint:  ", err=True, fg="cyan", nl=False)
        typer.echo(advice, err=True)


def _print_json(error: LLMOSError, code: Exit) -> None:
    document = {
        "error": type(error).__name__,
        "code": error.code,
        "exit": int(code),
        "text": summary(error),
        "fields": error.fields,
        "hint": advice_for(error),
    }
    typer.echo(json.dumps(document, default=str), err=True)


def _leave_broken_pipe() -> NoReturn:
    """End quietly when the reader of a pipe (``| head``) has gone."""
    # The interpreter would flush stdout at exit and complain once more.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise typer.Exit(Exit.OK)


def _bug(error: Exception) -> NoReturn:
    if os.environ.get("LLMOS_DEBUG"):
        traceback.print_exc()
    typer.secho("error: ", err=True, fg="red", bold=True, nl=False)
    typer.echo(f"{type(error).__name__}: {error}", err=True)
    typer.echo(BUG_ADVICE, err=True)
    raise typer.Exit(Exit.BUG)
