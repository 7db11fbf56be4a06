"""What can be set on a kernel, with its defaults; an unknown key is an error.

Read from a TOML file (``llmos up --config FILE``, or ``config.toml`` in the kernel's home)
and overridden by ``LLMOS_*`` environment variables, e.g. ``LLMOS_DURABILITY=power``.
Units stand in the names. Nothing here does anything: leaves and composers are given it.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ipc.errors import BadConfigError

ENVIRONMENT_PREFIX = "LLMOS_"
MAX_COUNT = 1 << 40  # of anything: what is counted fits the wire and the journal with room to spare
MAX_SECONDS = 10 * 365 * 86_400.0  # ten years, as deadlines (kernel/claims.py)


class AccessRule(BaseModel):
    """Whether an actor may look a name up; shell patterns, the first rule that fits decides."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    subject: str = "*"  # name of the actor that looks up; clients are "client"
    name: str = "*"  # the name it asks for
    allow: bool


class KernelConfig(BaseModel):
    """One kernel's settings; frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    durability: Literal["process", "power", "none"] = Field(
        "process", description="survives: every process killed | a power loss | nothing"
    )
    turn_slots: int = Field(64, ge=1, description="turns that may run (not wait) at once")
    turn_quantum: int = Field(64, ge=1, description="messages granted at once to one agent")
    turn_policy: str = Field(
        "fcfs", description="who gets a slot first; kernel/policy/policy_names.py lists them"
    )
    mailbox_messages: int = Field(4096, ge=1)
    mailbox_bytes: int = Field(64 << 20, ge=1024)
    max_attempts: int = Field(3, ge=1, description="of a tell, before it is a dead letter")
    backoff_initial_s: float = Field(0.1, gt=0)
    backoff_max_s: float = Field(30.0, gt=0)
    backoff_jitter: float = Field(0.2, ge=0, le=1, description="share of the delay, both ways")
    restart_intensity: int = Field(5, ge=0, description="restarts allowed within the period")
    restart_period_s: float = Field(10.0, gt=0)
    lease_s: float = Field(
        60.0, gt=0, description="an event loop may stand still this long, if its class says nothing"
    )
    start_timeout_s: float = Field(30.0, gt=0, description="from spawn to the agent's hello")
    stop_grace_s: float = Field(5.0, gt=0, le=86_400, description="from STOP to SIGKILL")
    adoption_window_s: float = Field(2.0, gt=0, description="a new kernel waits this long")
    orphan_grace_s: float = Field(60.0, gt=0, description="agents outlive their kernel this long")
    session_grace_s: float = Field(60.0, gt=0, description="a lost client may come back")
    window_messages: int = Field(4096, ge=16, description="unacknowledged envelopes a peer")
    window_bytes: int = Field(128 << 20, ge=1 << 16)
    payload_bytes: int = Field(64 << 20, ge=1024)
    turn_messages: int = Field(1024, ge=1, description="effects of one turn")
    turn_bytes: int = Field(64 << 20, ge=1024)
    turn_calls: int = Field(65536, ge=1, description="recorded calls of one turn")
    state_bytes: int = Field(16 << 20, ge=1024, description="durable state of one agent")
    dead_letters: int = Field(10_000, ge=1)
    dead_letter_age_s: float = Field(7 * 86400.0, gt=0)
    key_age_s: float = Field(86400.0, gt=0, description="idempotency keys of clients")
    max_keys: int = Field(100_000, ge=1)
    max_actors: int = Field(10_000, ge=1)
    max_sessions: int = Field(1_000, ge=1)
    llm_waiting: int = Field(10_000, ge=1, description="LLM requests under way, in all")
    llm_sessions: int = Field(10_000, ge=1)
    llm_placement: str = Field(
        "prefix", description="which engine computes; kernel/policy/balance_names.py lists them"
    )
    llm_policy: str = Field(
        "priority", description="who is computed first; kernel/policy/policy_names.py lists them"
    )
    llm_admission: Literal["known", "expected"] = Field(
        "known",
        description="admit while there is room for what is there | for what is expected to come",
    )
    llm_plans_ahead: int = Field(
        1,
        ge=0,
        le=1,
        description="steps sent beside the one computed; 0: who comes in a step is in the next, and"
        " the engine stands still while that is planned",
    )
    llm_hold_s: float = Field(
        120.0,
        ge=0,
        description="the context of a program whose tool is out is held at most so long; 0: never",
    )
    kv_eviction: Literal["lru", "lfu", "s3_fifo", "due"] = Field(
        "lru", description="which cached KV blocks go first; kernel/policy/eviction_names.py"
    )
    free_space_mark_bytes: int = Field(64 << 20, ge=0, description="below it: StorageFullError")
    control_groups: Literal["auto", "all", "off"] = Field(
        "auto",
        description="where of use (weights, limits, reservations) | each agent | none",
    )
    node: int = Field(0, ge=0, lt=1 << 15)
    access: tuple[AccessRule, ...] = ()
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("*")
    @classmethod
    def _is_no_more_than_a_clock_or_counter_holds(cls, value: Any) -> Any:
        most = MAX_SECONDS if isinstance(value, float) else MAX_COUNT
        if isinstance(value, int | float) and value > most:
            raise ValueError(f"at most {most:,.0f}")
        return value


def load_config(
    path: Path | None, environment: Mapping[str, str] | None = None, **overrides: Any
) -> KernelConfig:
    """Return the settings of a file, overridden by the environment, then by ``overrides``.

    path: a TOML file, or None for defaults.
    Raises:
        BadConfigError: no such file, not TOML, an unknown key, a value out of range.
    """
    values = _read_toml(path) if path is not None else {}
    source = str(path) if path is not None else "configuration"
    for name, text in (environment if environment is not None else os.environ).items():
        key = name.removeprefix(ENVIRONMENT_PREFIX).lower()
        if name.startswith(ENVIRONMENT_PREFIX) and key in KernelConfig.model_fields:
            values[key] = text
    values.update({key: value for key, value in overrides.items() if value is not None})
    try:
        return KernelConfig(**values)
    except ValidationError as error:
        raise BadConfigError(source=source, problem=_explain(error)) from None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise BadConfigError(source=str(path), problem="there is no such file") from None
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadConfigError(source=str(path), problem=str(error)) from None


def _explain(error: ValidationError) -> str:
    lines = []
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            known = ", ".join(sorted(KernelConfig.model_fields))
            lines.append(f"unknown key {key!r}; known are {known}")
        else:
            message = item["msg"].removeprefix("Value error, ")
            lines.append(f"{key}: {message} (got {item['input']!r})")
    return "; ".join(lines)
