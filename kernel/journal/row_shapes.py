"""What each row of the journal must look like; one that does not is named before anything is built.

Rows are written by this package, so a row that does not fit is damage, somebody's hand, or another
version: the kernel does not start on it, changes nothing, and says which table, which key and what
is wrong. Fields that are not known here are left alone: a newer version may have written them.

    columns   of the types of kernel/records.py, envelopes where it says so
    blobs     msgpack of the shapes below, field by field
    between   what one row says of another: names are unique, trees have no rings, tokens have
    rows      their request

What it is not: bytes that are no envelope or no database (kernel/journal/rows.py,
kernel/journal/file.py). A row that names an actor which is gone is no damage: recovery drops it.
Cost: about 0.5 us a row, 20 us one of an actor; once, at start. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal

import msgpack
from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from ext.wire import Envelope
from ipc.errors import BadPolicyError, BadRecordError, UnknownPolicyError
from ipc.llm import EMBEDDED_MODEL, ModelSpec, Sampling
from ipc.protocol import Declares, SpawnSpec
from kernel.actor_record import Plan, Status
from kernel.policy.balance_names import check_balancer
from kernel.pools.scaler import Scaling
from kernel.records import TABLES, Rows, Snapshot, Table

_STRICT = ConfigDict(strict=True)
_AS_LIST = Field(strict=False)  # msgpack has lists only, and an enum's value
_COLUMNS: Final[dict[str, type]] = {"INTEGER": int, "TEXT": str, "BLOB": bytes}

Count = Annotated[int, Field(ge=0)]
Amounts = dict[str, Count]


def _whole(size: int) -> Callable[[bytes], bytes]:
    """Return a check of packed numbers of so many bytes."""

    def check(data: bytes) -> bytes:
        if len(data) % size:
            raise ValueError(f"{len(data)} bytes are no numbers of {size} bytes")
        return data

    return check


Int32s = Annotated[bytes, AfterValidator(_whole(4))]
Uint64s = Annotated[bytes, AfterValidator(_whole(8))]


class ActorRow(TypedDict):
    """kernel/actor_record.py."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]

    name: str
    spec: SpawnSpec
    parent: int
    incarnation: int
    token_hash: str
    status: Annotated[Status, _AS_LIST]
    is_wanted: bool
    plan: Annotated[Plan, _AS_LIST]
    pid: int | None
    start_time: int | None
    restarts: int
    declares: Declares
    links: list[int]
    monitors: list[int]
    subscriptions: dict[str, Annotated[tuple[str, str], _AS_LIST]]
    spawn_call: int
    spawn_turn: int
    last_error: dict[str, Any] | None
    said_bye: bool


class PoolRow(TypedDict):
    """kernel/pools/pool.py."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]

    minimum: int
    maximum: int
    high: float
    low: float
    shrink_after_ns: int
    balance: str
    skills: list[list[str]]
    next_number: int
    is_up: bool
    members: list[Annotated[tuple[int, int, bool], _AS_LIST]]


class ModelRow(TypedDict):
    """kernel/llm/registry.py."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]

    spec: ModelSpec
    default: bool
    removed: bool
    engines: list[int]


class SessionRow(TypedDict):
    """kernel/llm/sessions.py."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]

    owner: int
    model: Annotated[tuple[str, int], _AS_LIST]
    ids: Int32s
    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]]
    turn: int


class RequestRow(TypedDict):
    """kernel/llm/token_log.py."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]

    ids: Int32s
    sampling: Sampling
    model: Annotated[tuple[str, int], _AS_LIST]
    sent: bool
    held: Amounts | None


class BudgetRow(TypedDict):
    """kernel/budget/budgets.py."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]

    name: str
    parent: int
    limits: Amounts
    own: Amounts
    ended: Amounts
    overrun: Amounts
    warned: list[str]
    run: Annotated[tuple[int, int | None, int], _AS_LIST] | None
    closing: bool


def _check_pool(row: PoolRow) -> PoolRow:
    try:
        check_balancer(row["balance"])
        Scaling(row["minimum"], row["maximum"], row["high"], row["low"])
    except (BadPolicyError, UnknownPolicyError) as error:
        raise ValueError(str(error)) from None
    return row


def _check_request(row: RequestRow) -> RequestRow:
    if "max_tokens" not in row["sampling"]:
        raise ValueError("sampling.max_tokens: Field required")
    return row


def _check_step(row: tuple[bytes, bytes, list[str]]) -> tuple[bytes, bytes, list[str]]:
    if not len(row[0]) // 8 == len(row[1]) // 4 == len(row[2]):
        raise ValueError("it has not as many tokens and texts as requests")
    return row


_Step = Annotated[tuple[Uint64s, Int32s, list[str]], _AS_LIST]
_Seconds = list[Annotated[tuple[int, int], _AS_LIST]]
_Letter = Annotated[tuple[str, str, dict[str, Any] | None, int, int], _AS_LIST]
_Kind = Literal["cpu", "memory", "gpu", "units"]
_Given = Annotated[tuple[_Kind, int, bool, bool], _AS_LIST]  # kernel/resources/inventory.py
_Engine = Annotated[tuple[Literal["engine"], bool], _AS_LIST]  # kernel/llm/drains.py
_Tokens = Annotated[tuple[Int32s, list[str], int], _AS_LIST]
_Window = Annotated[tuple[_Seconds, _Seconds, Count], _AS_LIST]
_Served = Annotated[list[Count], Field(max_length=4)]  # kernel/llm/served.py
_Hints = Annotated[tuple[str, str, str], _AS_LIST]

SHAPES: Final[dict[str, TypeAdapter[Any]]] = {
    "actor": TypeAdapter(ActorRow),
    "pool": TypeAdapter(Annotated[PoolRow, AfterValidator(_check_pool)]),
    "model": TypeAdapter(ModelRow),
    "llm_session": TypeAdapter(SessionRow),
    "llm_request": TypeAdapter(Annotated[RequestRow, AfterValidator(_check_request)]),
    "budget": TypeAdapter(BudgetRow),
    "dead_letter": TypeAdapter(_Letter, config=_STRICT),
    "resource": TypeAdapter(_Given | _Engine, config=_STRICT),
    "llm_tokens": TypeAdapter(_Tokens, config=_STRICT),
    "llm_step": TypeAdapter(Annotated[_Step, AfterValidator(_check_step)], config=_STRICT),
    "llm_stream": TypeAdapter(list[bytes], config=_STRICT),
    "llm_window": TypeAdapter(_Window, config=_STRICT),
    "llm_served": TypeAdapter(_Served, config=_STRICT),
    "routed": TypeAdapter(_Hints, config=_STRICT),
}


def check_rows(snapshot: Snapshot) -> None:
    """Say whether a kernel can be built from these rows, by returning.

    Raises:
        BadRecordError: the first row that does not fit.
    """
    found: dict[str, dict[Any, Any]] = {}
    for name, rows in snapshot.items():
        table = TABLES.get(name)
        if table is not None:
            _check_columns(table, rows)
            if name in SHAPES:
                found[name] = {key: _read(name, key, row[-1]) for key, row in rows.items()}
    _check_names(found.get("actor", {}))
    _check_tree("actor", found.get("actor", {}))
    _check_tree("budget", found.get("budget", {}))
    _check_llm(found)
    _check_settings(snapshot.get("setting", {}))


# --- one row -----------------------------------------------------------------------------------


def _check_columns(table: Table, rows: Rows) -> None:
    """Check the types of keys and columns; a set of those that were seen makes it cheap."""
    fitting: set[tuple[type, ...]] = set()
    for key, row in rows.items():
        types = (*map(type, key if len(table.key) > 1 else (key,)), *map(type, row))
        if types not in fitting:
            _check_types(table, key, types)
            fitting.add(types)


def _check_types(table: Table, key: Any, types: tuple[type, ...]) -> None:
    columns = table.key + table.columns
    if len(types) != len(columns):
        _refuse(table.name, key, f"it has {len(types)} columns of {len(columns)}")
    first = len(table.key)
    for place, ((column, kind), found) in enumerate(zip(columns, types, strict=True)):
        is_envelope = place - first in table.envelopes
        wanted = Envelope if is_envelope else _COLUMNS[kind]
        is_empty = found is type(None) and is_envelope and table.name == "keyed"
        if found is not wanted and not is_empty:
            _refuse(table.name, key, f"{column}: it is {found.__name__}, not {wanted.__name__}")


def _read(table: str, key: Any, blob: bytes) -> Any:
    """Return what a blob holds, checked."""
    if table == "routed" and not blob:
        return None  # nothing was said of where it should go
    try:
        return SHAPES[table].validate_python(msgpack.unpackb(blob))
    except ValidationError as error:
        _refuse(table, key, _explain(error))
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        _refuse(table, key, f"it is no msgpack: {error}")


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"]))
    return f"{place}: {first['msg']}" if place else first["msg"]


def _refuse(table: str, key: Any, problem: str) -> None:
    raise BadRecordError(table=table, key=key, problem=problem)


# --- rows together -----------------------------------------------------------------------------


def _check_names(actors: Mapping[int, ActorRow]) -> None:
    names: dict[str, int] = {}
    for key, row in actors.items():
        other = names.setdefault(row["name"], key)
        if other != key:
            _refuse("actor", key, f"name: {row['name']!r} is the name of {other} too")


def _check_tree(table: str, rows: Mapping[int, Any]) -> None:
    """Check that nobody is above itself. Cost: O(rows)."""
    is_sound: set[int] = {0}
    for key in rows:
        path: dict[int, None] = {}
        node = key
        while node not in is_sound and node in rows:
            if node in path:
                _refuse(table, node, "parent: it is above itself")
            path[node] = None
            node = rows[node]["parent"]
        is_sound.update(path)


def _check_llm(found: Mapping[str, Mapping[Any, Any]]) -> None:
    """Check that sessions have their model, and tokens their request."""
    models = {*found.get("model", ()), (EMBEDDED_MODEL, 1)}
    for key, row in found.get("llm_session", {}).items():
        if row["model"] not in models:
            _refuse("llm_session", key, "model: there is no {}@{}".format(*row["model"]))
    requests = found.get("llm_request", {})
    for key in found.get("llm_tokens", {}):
        if key[0] not in requests:
            _refuse("llm_tokens", key, "there is no request that they are of")


def _check_settings(rows: Rows) -> None:
    slots = rows.get("turn_slots", ("1",))[0]
    if not (slots.isdecimal() and int(slots)):
        _refuse("setting", "turn_slots", f"value: {slots!r} is no number from 1 on")
