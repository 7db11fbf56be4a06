"""What `top` shows of language models: engines and who keeps them busy; rates between two looks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from actors.cli.render import Column
from ipc.ids import short

if TYPE_CHECKING:
    from actors.client import Client

Row = dict[str, Any]


def _share(part: float, whole: float) -> str | None:
    return f"{part / whole:.0%}" if whole else None


ENGINE_COLUMNS = (
    Column("ENGINE", lambda row: row["name"]),
    Column("MODEL", lambda row: f"{row['model']}@{row['version']}"),
    Column("STATE", lambda row: row["state"]),
    Column("RUNNING", lambda row: row["running"], right=True),
    Column("WAITING", lambda row: row["waiting"], right=True),
    Column("TOKENS/S", lambda row: f"{row['generated_per_s']:.0f}", right=True),
    Column("READ/S", lambda row: f"{row['prompt_per_s']:.0f}", right=True),
    Column("CACHED", lambda row: _share(row["cached_tokens"], row["prompt_tokens"]), right=True),
    Column("KV", lambda row: _share(row["blocks_used"], row["blocks"]), right=True),
    Column("BLOCKS", lambda row: f"{row['blocks_used']}/{row['blocks']}", right=True),
    Column("STEP", lambda row: f"{row['step_ns'] / 1e6:.1f} ms", right=True),
    Column("PREEMPTED", lambda row: row["preemptions"], right=True),
    # Blocks of idle contexts: back from host memory, of those copied there.
    Column(
        "FROM HOST", lambda row: f"{row['promoted_blocks']}/{row['demoted_blocks']}", right=True
    ),
)
OWNER_COLUMNS = (
    Column("ID", lambda row: short(row["actor"]), right=True),
    Column("ASKS", lambda row: row["name"]),
    Column("RUNNING", lambda row: row["running"], right=True),
    Column("WAITING", lambda row: row["waiting"], right=True),
    Column("BLOCKS", lambda row: row["blocks"], right=True),
    Column("KV", lambda row: _share(row["blocks"], row["pool"]), right=True),
    Column("TOKENS", lambda row: row["generated_tokens"], right=True),
)


@dataclass(slots=True)
class LlmSampler:
    """Takes looks at the engines and remembers what the next one is compared with."""

    client: Client
    _counted: dict[int, Row] = field(default_factory=dict)  # by engine

    def look(self, elapsed_s: float) -> Row:
        """Return engines with their rates, and owners, the busiest first."""
        status = self.client.system("llm_status")
        engines = [self._engine(engine, elapsed_s) for engine in status["engines"]]
        self._counted = {engine["actor"]: engine for engine in engines}
        pool = sum(engine["blocks"] for engine in engines)
        owners = [{**owner, "pool": pool} for owner in status["owners"]]
        owners.sort(
            key=lambda row: (-row["running"], -row["waiting"], -row["blocks"], row["actor"])
        )
        return {"engines": engines, "owners": owners}

    def _engine(self, engine: Row, elapsed_s: float) -> Row:
        before = self._counted.get(engine["actor"], engine)
        rates = {
            f"{what}_per_s": _rate(engine[f"{what}_tokens"], before[f"{what}_tokens"], elapsed_s)
            for what in ("generated", "prompt")
        }
        return {**engine, **rates}


def _rate(now: int, before: int, elapsed_s: float) -> float:
    """Return the rate; an engine that is back counts from 0."""
    return (now - before if now >= before else now) / elapsed_s if elapsed_s > 0 else 0.0
