"""Any history of completions, pins, deaths and top-ups leaves accounts exact and within limits.

Three agents, a parent with two children, ask for completions out of one budget while engines,
agents and the kernel die. After each step no limit is passed at any level; in the end each call
has its own text and every account has used exactly what its agent's completions have.
"""

from __future__ import annotations

import random
from typing import Any

import pytest

from ext.wire import Envelope
from ipc.protocol import Flag, Kind
from tests.kernel.llm.engine_world import EngineWorld, ScriptedEngine, completion_of
from tests.kernel.world import ScriptedAgent, body
from tests.soak import share_of

PROMPTS = ("a", "Hello", "a longer prompt " * 3, "x" * 70)
STEPS = 45
NAMES = ("engine.m.1.1", "engine.m.1.2")
PRICE_IN, PRICE_OUT = 1_500_000, 2_250_001  # millionths for a million tokens


class Writer:
    """An agent whose one turn asks, and asks the same again when it is retried."""

    def __init__(self, world: EngineWorld, name: str, parent: int | None, **budget: int) -> None:
        self.world = world
        self.name = name
        self.agent: ScriptedAgent = world.spawn(name, parent=parent, budget=budget)
        world.client.ask(self.agent.id, "work")
        self.turn = self.agent.turn_of("work")
        self.calls: list[tuple[str, int, int]] = []
        self.sessions: dict[int, int] = {}  # place in calls -> the session it is asked in
        self.num_pins = 0
        self.asked: dict[int, int] = {}  # correlation of this incarnation -> place in calls

    def ask(self, prompt: str, count: int, flags: int, *, in_session: bool = False) -> None:
        self.calls.append((prompt, count, flags))
        if in_session:
            self.sessions[len(self.calls) - 1] = self._open_session()
        self._send(len(self.calls) - 1)

    def _open_session(self) -> int:
        return int(self.agent.answer(self.agent.system(self.turn, "llm_session"))["session"])

    def pin(self, session: int, ttl_s: float) -> None:
        self.num_pins += 1
        arguments = {"session": session, "ttl_s": ttl_s}
        envelope = Envelope(Kind.ASK, self.agent.id, 0, body("llm_pin", **arguments))
        envelope.correlation, envelope.turn = self.agent.next_correlation(), self.turn
        envelope.digest = f"pin {self.num_pins}".encode().ljust(16)
        self.agent.send(envelope)

    def _send(self, place: int) -> None:
        prompt, count, flags = self.calls[place]
        arguments: Any = {"input": {"prompt": prompt}, "sampling": {"max_tokens": count}}
        if place in self.sessions:
            arguments["session"] = self.sessions[place]
        envelope = Envelope(Kind.ASK, self.agent.id, 0, body("llm_generate", **arguments))
        envelope.correlation = self.agent.next_correlation()
        envelope.turn, envelope.flags = self.turn, flags
        envelope.digest = (f"{place}:{count}:{flags}".encode() + bytes(16))[:16]
        self.asked[envelope.correlation] = place
        self.agent.send(envelope)

    def die(self) -> None:
        self.agent.crash()
        self.world.advance(1)
        self.agent = self.world.agent(self.agent.id)
        self.turn = self.agent.turn_of("work")
        self.asked = {}
        assert [self._open_session() for _ in self.sessions] == list(self.sessions.values())
        for place in range(len(self.calls)):
            self._send(place)

    @property
    def is_up(self) -> bool:
        return self.world.routes.get(self.agent.route) is self.agent

    def expected(self) -> dict[str, int]:
        """Return what all its completions come to."""
        found = {"llm_calls": len(self.calls), "tokens": 0, "money": 0}
        for prompt, count, _ in self.calls:
            found["tokens"] += len(prompt) + count
            found["money"] += -(-(len(prompt) * PRICE_IN + count * PRICE_OUT) // 1_000_000)
        return found


class BudgetHistory:
    """See the module head."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.world = EngineWorld(
            restart_intensity=10**6, backoff_max_s=0.2, max_attempts=10**6, lease_s=1e6
        )
        self.world.add_model(engines=2, price_in=PRICE_IN, price_out=PRICE_OUT)
        self.parent = Writer(self.world, "parent", None, tokens=400, money=900, kv_blocks=90)
        above = self.parent.agent.id
        self.first = Writer(self.world, "first", above, tokens=150, kv_blocks=40)
        self.second = Writer(self.world, "second", above, llm_calls=2)
        self.writers = [self.parent, self.first, self.second]
        self.most_pinned = 0

    def engines(self) -> list[ScriptedEngine]:
        names = self.world.core.state.names
        return [self.world.engine(name) for name in NAMES if names.find(name) is not None]

    # --- what happens -------------------------------------------------------------------

    def one_asks(self) -> None:
        flags = int(Flag.STREAM) if self.rng.random() < 0.5 else 0
        writer, in_session = self.rng.choice(self.writers), self.rng.random() < 0.5
        prompt, count = self.rng.choice(PROMPTS), self.rng.randint(1, 90)
        writer.ask(prompt, count, flags, in_session=in_session)

    def one_pins(self) -> None:
        """Keep a session's blocks, for longer or not any more, as far as the budget lets it."""
        writer = self.rng.choice(self.writers)
        if writer.sessions:
            session = self.rng.choice(sorted(writer.sessions.values()))
            ttl_s = self.rng.choice((0, 0.5, 3, 60))
            writer.pin(session, ttl_s)

    def one_is_topped_up(self) -> None:
        writer = self.rng.choice(self.writers)
        account = self.world.core.state.actors[writer.agent.id].account
        assert account is not None
        for resource in sorted(account.limits):
            more = {resource: self.rng.randint(1, 120)}
            self.world.client.system("budget_top_up", actor=writer.agent.id, amounts=more)

    def engines_get_ready(self) -> None:
        for engine in self.engines():
            if not engine.model.slots and not engine.plans and not engine.num_seen:
                engine.ready()

    def an_engine_steps(self) -> None:
        for engine in self.rng.sample(self.engines(), min(1, len(self.engines()))):
            for _ in range(self.rng.randint(1, 25)):
                engine.step()
                self.check_step()

    def an_engine_dies(self) -> None:
        living = [e for e in self.engines() if self.world.routes.get(e.agent.route) is e.agent]
        if living:
            for job in self.world.core.llm.generation.jobs.values():
                job.deaths = 0  # that a request is given up is another test's matter
            self.rng.choice(living).agent.crash()
            self.world.advance(1)

    def the_kernel_dies(self) -> None:
        engines = [e for e in self.engines() if self.world.routes.get(e.agent.route) is e.agent]
        writers = [writer for writer in self.writers if writer.is_up]
        self.world.kill_kernel()
        self.world.client.connect()
        self.check_step()
        for engine in engines:
            engine.agent.connect()
            engine.ready()
        for writer in writers:
            writer.agent.open = [writer.turn]
            writer.agent.connect()
        self.world.advance(3)

    def an_agent_dies(self) -> None:
        self.rng.choice(self.writers).die()

    # --- checks -------------------------------------------------------------------------

    def check_step(self) -> None:
        self.world.core.state.budgets.tree.check_integrity()
        self.check_blocks()
        for writer in self.writers:
            account = self.world.core.state.actors[writer.agent.id].account
            assert account is not None
            for resource, most in writer.expected().items():
                assert account.own[resource] <= most, f"{writer.name} paid {resource} twice"

    def check_blocks(self) -> None:
        """Each account has reserved the blocks of its completions and of its pins, and no other."""
        generation, tree = self.world.core.llm.generation, self.world.core.state.budgets.tree
        found = dict.fromkeys(tree.accounts, 0)
        for job in generation.jobs.values():
            if job.meter is not None:
                found[job.meter.account.id] += job.meter.reserved.get("kv_blocks", 0)
        for pin in generation.pins:
            assert pin.scheduler.pinned_blocks(pin.handle) == pin.blocks
            assert pin.account is not None
            found[pin.account.id] += pin.blocks
            self.most_pinned = max(self.most_pinned, pin.blocks)
        for account in tree.accounts.values():
            below = sum(child.reserved["kv_blocks"] for child in account.children.values())
            assert account.reserved["kv_blocks"] == found[account.id] + below, account.name

    def check_end(self) -> None:
        for resource in ("tokens", "money", "kv_blocks", "llm_calls"):
            for writer in self.writers:
                self._raise(writer, resource)
        self._run_dry()
        self.check_step()
        self.world.advance(61)  # the time of every pin comes
        for writer in self.writers:
            account = self.world.core.state.actors[writer.agent.id].account
            assert account is not None
            found = {resource: account.own[resource] for resource in writer.expected()}
            assert found == writer.expected(), writer.name
            assert not any(account.reserved.values())
            for correlation, place in writer.asked.items():
                prompt, count, _ = writer.calls[place]
                answer: Any = writer.agent.answer(correlation)
                assert answer is not None, "a call was never answered"
                assert answer["text"] == completion_of(prompt.encode(), count)
        assert len(self.world.core.state.budgets.lines) == 0

    def _raise(self, writer: Writer, resource: str) -> None:
        limits = {resource: None if writer is not self.parent else 10**9}
        self.world.client.system("budget_set", actor=writer.agent.id, limits=limits)

    def _run_dry(self) -> None:
        for _ in range(100):
            self.world.advance(1)
            self.engines_get_ready()
            moved = [engine.step() for engine in self.engines() for _ in range(60)]
            if not any(moved):
                return


ACTIONS = (
    (BudgetHistory.one_asks, 5),
    (BudgetHistory.one_pins, 3),
    (BudgetHistory.one_is_topped_up, 3),
    (BudgetHistory.engines_get_ready, 4),
    (BudgetHistory.an_engine_steps, 8),
    (BudgetHistory.an_engine_dies, 1),
    (BudgetHistory.the_kernel_dies, 1),
    (BudgetHistory.an_agent_dies, 1),
)


def run_history(seed: int, *, verbose: bool = False) -> BudgetHistory:
    history = BudgetHistory(seed)
    actions, weights = zip(*ACTIONS, strict=True)
    for action in history.rng.choices(actions, weights, k=STEPS):
        if verbose:
            print(action.__name__)
        action(history)
        history.check_step()
    history.check_end()
    return history


@pytest.mark.parametrize("seed", range(8))
def test_budgets_are_exact_and_never_passed_whatever_dies(seed: int) -> None:
    run_history(seed)


def test_histories_pin_blocks() -> None:
    assert max(run_history(seed).most_pinned for seed in (1, 2, 3)) > 0


@pytest.mark.soak
@pytest.mark.parametrize("first", range(0, 2000, 250))
def test_budgets_are_exact_and_never_passed_in_long_runs(first: int) -> None:
    for seed in range(first, first + share_of(250)):
        run_history(seed)
