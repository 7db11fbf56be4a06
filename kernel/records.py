"""The journal's contract: tables, keys, and who commits the write set of a kernel loop turn.

What it is not: SQLite (kernel/journal/journal.py). The core only ever fills a ``WriteSet``
(ext/write_set.pyx); whoever drives it commits the set atomically, and only then lets the frames
out that depend on it.

A write set holds, per table, the last thing said of each key: a row, or None for "gone".
A row that was put and deleted within one set, and was never in the journal, leaves no trace.

    table         key                  row
    meta          name                 (value: int)   generation, epoch, counter, format
    actor         actor id             (blob)         msgpack of ActorRecord.to_row()
    mark          actor or session id  (incarnation, sequence)
    message       message id           (Envelope, accepted wall ns, deadline wall ns or 0)
    retry         message id           (attempts, not_before wall ns)
    answer        call id              (Envelope)     REPLY or ERROR of a finished call
    item          (call id, index)     (Envelope)     items of a stream
    state         (actor id, key)      (value bytes)
    timer         timer id             (actor id, due wall ns, Envelope)
    handle        (actor id, target)   ()
    dead_letter   number               (Envelope, blob)
    keyed         digest               (expires wall ns, Envelope | None)
    pool          pool's actor id      (blob)         kernel/pools/pool.py
    routed        message id           (pool id, blob)  a pool's message that a member has
    setting       name                 (value)        kernel/settings.py
    resource      name                 (blob)         kernel/resources/resource_calls.py
    model         (name, version)      (blob)         kernel/llm/registry.py
    llm_session   session id           (blob)         kernel/llm/sessions.py
    llm_request   call id              (blob)         this and the next two: kernel/llm/token_log.py
    llm_tokens    (call id, start)     (blob)
    llm_step      number               (blob)
    llm_stream    call id              (blob)         items of a finished streamed completion
    llm_window    (name, version)      (blob)         kernel/llm/endpoint_limits.py
    llm_served    (name, version)      (blob)         kernel/llm/served.py
    budget        actor id             (blob)         kernel/budget/budgets.py
    unpaid        message id           ()             it waits for its sender's budget
    condemned     (actor id, incarnation)  (pid, start time)  a process of an actor that has ended

Cost: one dict write a record.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from ext.write_set import WriteSet

__all__ = ["TABLES", "Journal", "Rows", "Snapshot", "Table", "WriteSet"]


@dataclass(frozen=True, slots=True)
class Table:
    """Columns of one table; those in ``envelopes`` hold an Envelope (or None)."""

    name: str
    key: tuple[tuple[str, str], ...]  # (column, SQLite type)
    columns: tuple[tuple[str, str], ...]
    envelopes: tuple[int, ...] = ()  # indexes into columns


_ID = (("id", "INTEGER"),)
_BLOB = (("row", "BLOB"),)

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        Table("meta", (("name", "TEXT"),), (("value", "INTEGER"),)),
        Table("actor", _ID, (("row", "BLOB"),)),
        Table("mark", _ID, (("incarnation", "INTEGER"), ("sequence", "INTEGER"))),
        Table(
            "message",
            _ID,
            (("envelope", "BLOB"), ("accepted", "INTEGER"), ("due", "INTEGER")),
            (0,),
        ),
        Table("retry", _ID, (("attempts", "INTEGER"), ("not_before", "INTEGER"))),
        Table("answer", _ID, (("envelope", "BLOB"),), (0,)),
        Table("item", (("call", "INTEGER"), ("number", "INTEGER")), (("envelope", "BLOB"),), (0,)),
        Table("state", (("actor", "INTEGER"), ("name", "TEXT")), (("value", "BLOB"),)),
        Table(
            "timer",
            _ID,
            (("actor", "INTEGER"), ("due", "INTEGER"), ("envelope", "BLOB")),
            (2,),
        ),
        Table("handle", (("actor", "INTEGER"), ("target", "INTEGER")), ()),
        Table("dead_letter", _ID, (("envelope", "BLOB"), ("row", "BLOB")), (0,)),
        Table(
            "keyed",
            (("digest", "BLOB"),),
            (("expires", "INTEGER"), ("envelope", "BLOB")),
            (1,),
        ),
        Table("pool", _ID, _BLOB),
        Table("routed", _ID, (("pool", "INTEGER"), ("hints", "BLOB"))),
        Table("setting", (("name", "TEXT"),), (("value", "TEXT"),)),
        Table("resource", (("name", "TEXT"),), _BLOB),
        Table("model", (("name", "TEXT"), ("version", "INTEGER")), _BLOB),
        Table("llm_session", _ID, _BLOB),
        Table("llm_request", _ID, _BLOB),
        Table("llm_tokens", (("call", "INTEGER"), ("start", "INTEGER")), _BLOB),
        Table("llm_step", _ID, _BLOB),
        Table("llm_stream", _ID, _BLOB),
        Table("llm_window", (("name", "TEXT"), ("version", "INTEGER")), _BLOB),
        Table("llm_served", (("name", "TEXT"), ("version", "INTEGER")), _BLOB),
        Table("budget", _ID, _BLOB),
        Table("unpaid", _ID, ()),
        Table(
            "condemned",
            (("actor", "INTEGER"), ("incarnation", "INTEGER")),
            (("pid", "INTEGER"), ("start_time", "INTEGER")),
        ),
    )
}

Rows = dict[Any, tuple[Any, ...]]
Snapshot = dict[str, Rows]  # table -> key -> row


class Journal(Protocol):
    """Where write sets go: a local file (kernel/journal/journal.py), or memory in tests."""

    def commit(self, changes: WriteSet) -> None:
        """Make the whole set durable, or raise JournalWriteError and change nothing."""
        ...

    def load(self) -> Snapshot:
        """Return everything stored."""
        ...

    def close(self) -> None:
        """Release what is held; nothing is lost."""
        ...
