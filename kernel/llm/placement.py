"""Which engine of a model computes a request: one of kernel/policy's balancers, over engines.

What the balancer is told: how many requests each engine has, how long each took a token of
completion (peak average), and how much of the request's beginning each has seen: of a session the
engine that holds it, of a new prompt kernel/llm/prefix_index.py. The usual policy is ``prefix``:
where most of the beginning is, unless that engine has over eight requests more than another.

Promise: a change of the policy touches no request that was placed. Chance and what was learned are
of this kernel epoch.
Cost: the balancer's, O(engines); with one engine nothing.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kernel.llm.engines import Engine
from kernel.llm.prefix_index import PrefixIndex
from kernel.policy.balance import ANY, Balancer, Demand, Replica
from kernel.policy.balance_names import new_balancer


class Placement:
    """See the module head."""

    def __init__(self, name: str, rng: random.Random) -> None:
        """Begin with a policy. Raises UnknownPolicyError, which lists those there are."""
        self.name = name
        self._rng = rng
        self._balancer: Balancer = new_balancer(name, rng)
        self._replicas: dict[int, Replica] = {}
        self._placed: dict[int, tuple[int, int]] = {}  # request -> (engine, when)
        self._index = PrefixIndex()
        self._turn = 0

    def use(self, name: str) -> None:
        """Place by another policy from now on. Raises UnknownPolicyError; nothing was changed."""
        self._balancer = new_balancer(name, self._rng)
        self.name = name

    # --- choices ------------------------------------------------------------------------

    def choose(self, engines: Sequence[Engine], now_ns: int, session: int = 0) -> Engine:
        """Return the engine. engines: at least one. session: the one that holds it, or 0."""
        if len(engines) == 1:
            return engines[0]
        demand = Demand(cached={session: 1}) if session else ANY
        return self._ask(engines, demand, now_ns)

    def choose_again(
        self, engines: Sequence[Engine], chosen: Engine, ids: NDArray[np.int32], now_ns: int
    ) -> Engine:
        """Return the engine for tokens that are known now; only ``prefix`` thinks again."""
        if len(engines) < 2 or self.name != "prefix":
            return chosen
        cached = self._index.match(ids)
        if not cached:
            return chosen if chosen in engines else self._ask(engines, ANY, now_ns)
        return self._ask(engines, Demand(cached=cached), now_ns)

    def _ask(self, engines: Sequence[Engine], demand: Demand, now_ns: int) -> Engine:
        replicas = []
        for engine in engines:
            replica = self._replicas.get(engine.actor)
            if replica is None:
                replica = self._replicas[engine.actor] = Replica(engine.actor)
            replica.outstanding = engine.load
            replicas.append(replica)
        chosen = self._balancer.choose(replicas, demand, now_ns)
        self._turn += 1
        chosen.turn = self._turn
        return engines[replicas.index(chosen)]

    # --- what becomes of them -----------------------------------------------------------

    def begin(
        self, request: int, engine: Engine, ids: NDArray[np.int32] | None, now_ns: int
    ) -> None:
        """A request was given to an engine. ids: its tokens, if they are to be found again."""
        self._placed[request] = (engine.actor, now_ns)
        if ids is not None and self.name == "prefix":
            self._index.note(engine.actor, ids)

    def succeed(self, request: int, tokens: int, now_ns: int) -> None:
        """It was completed with so many tokens."""
        engine, began_ns = self._placed.pop(request, (0, 0))
        replica = self._replicas.get(engine)
        if replica is not None:
            replica.succeed("", (now_ns - began_ns) / max(tokens, 1), now_ns)

    def leave(self, request: int) -> None:
        """It has ended otherwise, or goes to another engine."""
        self._placed.pop(request, None)

    def forget(self, engine: int) -> None:
        """An engine's process is gone, with its cache."""
        self._replicas.pop(engine, None)
        self._index.forget(engine)
