"""Files for payloads too large for a journal row; who names them is kernel/journal/journal.py.

Invariants:
  I1  a file is complete (at durability ``power``: on the disk) before ``write`` returns.
  I2  a number is not used twice while the directory is open, nor while its file exists.

Cost: one file creation and one write; at ``power`` two fsyncs.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_MAX_BUFFERS = 512  # of one writev; the system allows 1024


class PayloadFiles:
    """Numbered files in one directory."""

    def __init__(self, directory: Path, *, sync: bool) -> None:
        """Open the directory, making it if needed. sync: survive a power loss."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.directory = directory
        self._sync = sync
        self._next = max(self.numbers(), default=0) + 1

    def numbers(self) -> set[int]:
        """Return the numbers of the files there are."""
        return {int(entry.name, 16) for entry in os.scandir(self.directory) if _is_ours(entry.name)}

    def write(self, parts: list[Any]) -> int:
        """Store the buffers one after the other; return the file's number. Raises OSError."""
        number, self._next = self._next, self._next + 1
        path = self.path(number)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            _write_all(descriptor, parts)
            if self._sync:
                os.fsync(descriptor)
        except OSError:
            path.unlink()
            raise
        finally:
            os.close(descriptor)
        if self._sync:
            self._sync_directory()
        return number

    def read(self, number: int) -> bytes:
        """Return a file's content. Raises FileNotFoundError, OSError."""
        return self.path(number).read_bytes()

    def remove(self, numbers: Iterable[int]) -> None:
        """Delete files; one that is gone already does not matter."""
        for number in numbers:
            self.path(number).unlink(missing_ok=True)

    def size_bytes(self) -> int:
        """Return the bytes of all files."""
        total = 0
        for number in self.numbers():
            try:
                total += self.path(number).stat().st_size
            except FileNotFoundError:  # removed meanwhile by the housekeeper
                continue
        return total

    def path(self, number: int) -> Path:
        """Return where file ``number`` is or will be."""
        return self.directory / f"{number:016x}"

    def _sync_directory(self) -> None:
        descriptor = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _is_ours(name: str) -> bool:
    return len(name) == 16 and all(digit in "0123456789abcdef" for digit in name)


def _write_all(descriptor: int, parts: list[Any]) -> None:
    pending = [memoryview(part).cast("B") for part in parts if memoryview(part).nbytes]
    while pending:
        written = os.writev(descriptor, pending[:_MAX_BUFFERS])
        while pending and written >= pending[0].nbytes:
            written -= pending.pop(0).nbytes
        if written:
            pending[0] = pending[0][written:]
