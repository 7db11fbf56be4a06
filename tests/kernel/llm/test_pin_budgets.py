"""Pins of owners with a budget of KV blocks: reserved while they last, free however they end."""

from __future__ import annotations

from typing import Any

import pytest

from ext.wire import Envelope
from ipc.errors import BudgetExceededError
from ipc.protocol import Kind
from tests.kernel.llm.engine_world import EngineWorld, completion_of
from tests.kernel.world import body

PROMPT = "x" * 30
HELD = (30 + 10 - 1) // 4  # full blocks; the last token is not computed


class Pinner:
    """An agent with a budget whose turn has a session of 40 tokens."""

    def __init__(self, **budget: int) -> None:
        self.world = EngineWorld(max_attempts=1000, restart_intensity=1000)
        self.world.add_model()
        self.agent = self.world.spawn("pinner", budget=budget)
        self.world.client.ask(self.agent.id, "work")
        self.turn = self.agent.turn_of("work")
        self.session = self.call("llm_session")["session"]
        self.world.client.system("model_load", name="m")
        self.world.engine().ready()
        self.complete(PROMPT, 10, session=self.session)

    def call(self, name: str, **arguments: Any) -> Any:
        return self.agent.answer(self.ask(name, **arguments))

    def ask(self, name: str, **arguments: Any) -> int:
        correlation = self.agent.next_correlation()
        envelope = Envelope(Kind.ASK, self.agent.id, 0, body(name, **arguments))
        envelope.turn, envelope.correlation = self.turn, correlation
        envelope.digest = f"{correlation}".encode().ljust(16)
        self.agent.send(envelope)
        return correlation

    def complete(self, prompt: str, count: int, **more: Any) -> Any:
        sampling = {"max_tokens": count}
        asked = self.ask("llm_generate", input={"prompt": prompt}, sampling=sampling, **more)
        self.world.engine().run()
        return self.agent.answer(asked)

    def pin(self, ttl_s: float = 60) -> Any:
        return self.call("llm_pin", session=self.session, ttl_s=ttl_s)

    def reserved(self) -> int:
        tree = self.world.core.state.budgets.tree
        tree.check_integrity()
        return tree.accounts[self.agent.id].reserved["kv_blocks"]


def test_a_pin_reserves_the_blocks_it_holds_and_gives_them_back_when_it_is_let_go() -> None:
    pinner = Pinner(kv_blocks=50)
    before = pinner.reserved()

    pinner.pin()
    held = pinner.reserved()
    pinner.pin(0)

    scheduler = pinner.world.core.llm.engines.get(pinner.world.engine().agent.id).scheduler
    assert (before, held, pinner.reserved()) == (0, HELD, 0)
    assert scheduler.blocks_of(pinner.agent.id) == 0


@pytest.mark.parametrize("end", ["time", "close", "engine", "commit fails", "owner", "kernel"])
def test_however_a_pin_ends_its_blocks_are_free_again(end: str) -> None:
    pinner = Pinner(kv_blocks=50)
    world = pinner.world
    pinner.pin(30)
    assert pinner.reserved()

    match end:
        case "time":
            world.advance(32)
        case "close":
            pinner.call("llm_close", session=pinner.session)
        case "engine":
            world.engine().agent.crash()
        case "commit fails":
            world.client.system("kill", actor=pinner.agent.id)
            assert world.core.state.budgets.tree.accounts == {}
            return
        case "owner":
            pinner.agent.commit(pinner.turn)
            world.client.system("kill", actor=pinner.agent.id)
            assert world.core.state.budgets.tree.accounts == {}
            return
        case "kernel":
            world.kill_kernel()

    assert pinner.reserved() == 0


def test_a_pin_beyond_the_budget_is_refused_and_leaves_all_as_it_was() -> None:
    pinner = Pinner(kv_blocks=12)
    pinner.world.client.system("budget_set", actor="pinner", limits={"kv_blocks": 5})

    refused = pinner.pin()

    assert refused["code"] == BudgetExceededError.code
    assert pinner.reserved() == 0
    assert pinner.world.core.llm.sessions.get(pinner.session).pinned_until_ns == 0


def test_a_pin_grows_with_its_session() -> None:
    pinner = Pinner(kv_blocks=60)
    pinner.pin()

    pinner.complete("y" * 20, 10, session=pinner.session)

    assert pinner.reserved() == (40 + 20 + 10 - 1) // 4


def test_pins_yield_to_a_completion_that_would_else_wait_for_blocks() -> None:
    pinner = Pinner(kv_blocks=12)
    pinner.pin()
    held = pinner.reserved()

    done = pinner.complete("another", 30)

    assert done["text"] == completion_of(b"another", 30)
    assert (held, pinner.reserved()) == (HELD, 0)
    assert pinner.world.core.statistics().get("llm_held_for_budget", 0) == 0


def test_pins_of_who_gets_a_budget_count_from_then_on() -> None:
    pinner = Pinner()
    pinner.pin()

    pinner.world.client.system("budget_set", actor="pinner", limits={"kv_blocks": 50})

    assert pinner.reserved() == HELD
    pinner.pin(0)
    assert pinner.reserved() == 0
