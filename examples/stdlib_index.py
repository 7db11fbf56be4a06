"""Count the identifiers in the Python standard library with five agents, each a process.

A coordinator walks the folders and shares the files among four workers by messages. Kill a
worker, or the kernel, at any moment (`make demo` kills both): the totals stay right. What a
turn does (messages sent, state written, its own message acknowledged) is one commit.

    llmos up --daemon
    llmos spawn examples/stdlib_index.py:Coordinator --as index
    llmos ask index start root=/usr/lib/python3
    llmos ask index progress
"""

import keyword
import tokenize
import zlib
from pathlib import Path

from actors import Actor, ActorRef, receive

WORKERS = 4
SLICE = 200  # files handed out in one turn: turns are kept small, so that none is costly to repeat
NOT_OURS = {"site-packages", "dist-packages", "__pycache__"}
TOTALS = ("messages", "folders", "found", "files", "identifiers", "fingerprint")


class Worker(Actor):
    """Counts the identifiers of one file at a time."""

    def __init__(self, coordinator: "ActorRef[Coordinator]") -> None:
        self.coordinator = coordinator

    @receive
    async def count(self, path: str) -> None:
        """Count, and tell the coordinator; None stands for a file that is not valid Python."""
        await self.coordinator.tell.counted(path, count_identifiers(path))


class Coordinator(Actor):
    """Shares the files among the workers and adds up what they find."""

    @receive
    async def start(self, root: str) -> None:
        """Begin to index a folder."""
        self.state.update(dict.fromkeys(TOTALS, 0), messages=1, folders=1)
        self.state["workers"] = [
            await self.spawn(Worker, self.ref, name=f"worker.{number}") for number in range(WORKERS)
        ]
        await self.ref.tell.share(root, 0)

    @receive
    async def share(self, folder: str, first: int) -> None:
        """Give a slice of a folder's files to the workers; its folders and the rest to myself."""
        self.state["messages"] += 1
        workers, entries = self.state["workers"], list_folder(folder)
        for path, is_folder in entries[first : first + SLICE]:
            if is_folder:
                self.state["folders"] += 1
                await self.ref.tell.share(path, 0)
            else:
                await workers[self.state["found"] % WORKERS].tell.count(path)
                self.state["found"] += 1
        if first + SLICE < len(entries):
            await self.ref.tell.share(folder, first + SLICE)
        else:
            self.state["folders"] -= 1

    @receive
    async def counted(self, path: str, identifiers: int | None) -> None:
        """Add one file's count to the totals."""
        self.state["messages"] += 2  # the file's way to the worker and back
        self.state["files"] += 1
        self.state["identifiers"] += identifiers or 0
        # A sum does not depend on the order, and shows what is lost or comes twice.
        self.state["fingerprint"] += zlib.crc32(f"{path}:{identifiers}".encode())

    @receive
    async def progress(self) -> dict[str, int]:
        """Tell the totals; all is done when no folder is open and files equals found."""
        return {name: self.state.get(name, 0) for name in TOTALS}


def list_folder(folder: str) -> list[tuple[str, bool]]:
    """Return the folders and Python files in a folder, and which of the two each is."""
    return [
        (str(path), path.is_dir())
        for path in sorted(Path(folder).iterdir())
        if path.name not in NOT_OURS and not path.is_symlink()
        if path.is_dir() or path.suffix == ".py"
    ]


def count_identifiers(path: str) -> int | None:
    """Return the number of identifiers in a file, or None if it is not valid Python."""
    try:
        with tokenize.open(path) as source:
            tokens = list(tokenize.generate_tokens(source.readline))
    except (SyntaxError, ValueError, tokenize.TokenError):
        return None
    return sum(t.type == tokenize.NAME and not keyword.iskeyword(t.string) for t in tokens)
