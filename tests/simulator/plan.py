"""What one seed's history is like: how big, how rough. Drawn from the seed, so that 200 seeds
try 200 mixtures (each fault is absent in some of them: swarm testing).
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from kernel.config import KernelConfig, load_config
from kernel.policy.policy_names import POLICIES

MS = 1_000_000
S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Plan:
    """Sizes, rates (per virtual second) and probabilities of one history."""

    agents: int
    clients: int
    roots: int  # messages that clients send
    busy_ns: int  # how long faults and new work go on
    depth: int
    max_delay_ns: int
    loss: float
    duplicates: float
    breaks: float
    crashes: float
    kills: float
    start_failures: float
    operations: float  # operator's kill, stop, restart, retry
    lost_clients: float
    low_storage: float
    tiny_mailboxes: float
    budgets: float  # share of agents with one; and changes of limits a second
    looks: float  # at the machine, which gains and loses CPUs and a GPU
    reserving: float  # share of agents with a reservation or a weight
    pools: int  # besides the agents
    spawns: float  # share of usual steps of scripts that spawn a child and ask it
    weird: float  # share of failing, crashing, diverging, cancelling steps in scripts
    config: KernelConfig


def draw_plan(rng: random.Random, scale: float = 1.0) -> Plan:
    """Return the plan of a seed. scale: length of the busy phase, 1 = usual."""

    def some(rate: float, chance: float = 0.6) -> float:
        return rate * rng.uniform(0.3, 1.5) if rng.random() < chance else 0.0

    config = load_config(
        None,
        {},
        turn_slots=rng.choice([1, 2, 4, 64]),
        turn_quantum=rng.choice([1, 2, 8, 64]),
        turn_policy=rng.choice(["fcfs", rng.choice(sorted(POLICIES))]),
        mailbox_messages=rng.choice([3, 8, 4096]),
        mailbox_bytes=rng.choice([2048, 1 << 20]),
        max_attempts=rng.choice([1, 3, 3, 5]),
        restart_intensity=rng.choice([2, 20, 20]),
        restart_period_s=5.0,
        lease_s=5.0,
        start_timeout_s=3.0,
        stop_grace_s=1.0,
        adoption_window_s=rng.choice([0.05, 2.0]),
        backoff_max_s=2.0,
        session_grace_s=20.0,
        dead_letters=rng.choice([5, 10_000]),
    )
    return Plan(
        agents=rng.randint(2, 6),
        clients=rng.randint(1, 3),
        roots=int(rng.randint(10, 30) * scale),
        busy_ns=int(rng.uniform(2, 6) * S * scale),
        depth=rng.randint(1, 3),
        max_delay_ns=rng.choice([MS // 5, 2 * MS, 50 * MS]),
        loss=some(0.04, 0.4),
        duplicates=some(0.5, 0.5),
        breaks=some(1.5),
        crashes=some(1.2),
        kills=some(0.8),
        start_failures=some(0.1, 0.3),
        operations=some(0.8, 0.4),
        lost_clients=some(0.1, 0.4),
        low_storage=some(0.2, 0.2),
        tiny_mailboxes=some(0.5, 0.5),
        budgets=some(0.6, 0.4),
        looks=some(3.0, 0.5),
        reserving=some(0.4, 0.5),
        pools=rng.choice([0, 0, 1, 2]),
        spawns=some(0.06, 0.4),
        weird=some(0.25, 0.7),
        config=config,
    )
