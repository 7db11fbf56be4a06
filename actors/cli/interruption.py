"""Signals that end a program, as an exception that lets it clean up behind itself.

SIGTERM and SIGHUP end a Python program at once: no ``finally`` runs, and what it has started
lives on. Within ``interruptible`` they raise ``Interrupted``, as Ctrl-C raises KeyboardInterrupt.

Promises: one exception, however many signals come, so that cleaning up is not cut short; a signal
that was ignored when the program began (nohup) stays ignored; within ``signals_held`` none is
raised, it comes when the block has ended. Outside the main thread both do nothing.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(KeyboardInterrupt):
    """The program was told to end. What handles Ctrl-C handles it."""


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise ``Interrupted`` in the block when a signal says that the program is to end."""
    has_begun = False

    def interrupt(number: int, _: FrameType | None) -> None:
        nonlocal has_begun
        if not has_begun:
            has_begun = True
            _raise(number)

    with _handled_by(interrupt):
        yield


@contextmanager
def signals_held() -> Iterator[None]:
    """Let signals that end the program wait until the block has ended."""
    came: list[int] = []
    try:
        with _handled_by(lambda number, _: came.append(number)):
            yield
    finally:
        for number in came:
            signal.raise_signal(number)


def _raise(number: int) -> NoReturn:
    raise Interrupted(signal.Signals(number).name)


@contextmanager
def _handled_by(handler: signal._HANDLER) -> Iterator[None]:
    """Put a handler in the place of those there are, but for what is ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heeded = [number for number in ENDING if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in heeded}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)
