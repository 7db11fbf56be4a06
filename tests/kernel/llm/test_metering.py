"""kernel/llm/metering.py: completions reserve before and settle after, to the last token."""

from __future__ import annotations

from typing import Any

import pytest

from ext.wire import Envelope
from ipc.errors import EndpointError, LLMOSError, from_wire, to_wire
from ipc.plain import decode_plain
from ipc.protocol import Flag, Kind
from kernel.llm.call_cost import prompt_bound, spent
from tests.kernel.llm.engine_world import EngineWorld, ScriptedEngine, completion_of
from tests.kernel.world import ScriptedAgent, body

STREAM = int(Flag.STREAM)
RAISE = int(Flag.NO_BUDGET_WAIT)
PROMPT = "Hello"


def make_world(**spec: Any) -> EngineWorld:
    world = EngineWorld(max_attempts=1000, restart_intensity=1000)
    world.add_model(**spec)
    return world


class Asker:
    """An agent with a budget whose one turn asks for completions."""

    def __init__(self, world: EngineWorld, name: str = "asker", **budget: int) -> None:
        self.world = world
        self.agent: ScriptedAgent = world.spawn(name, budget=budget)
        world.client.ask(self.agent.id, "work")
        self.turn = self.agent.turn_of("work")

    def ask(self, count: int, prompt: str = PROMPT, flags: int = 0, **more: Any) -> int:
        correlation = self.agent.next_correlation()
        arguments = {"input": {"prompt": prompt}, "sampling": {"max_tokens": count}} | more
        envelope = Envelope(Kind.ASK, self.agent.id, 0, body("llm_generate", **arguments))
        envelope.turn, envelope.correlation, envelope.flags = self.turn, correlation, flags
        envelope.digest = (f"{prompt}:{count}:{flags}".encode() + bytes(16))[:16]
        self.agent.send(envelope)
        return correlation

    def answer(self, correlation: int) -> Any:
        return self.agent.answer(correlation)

    def text(self, correlation: int) -> str | None:
        answer = self.answer(correlation)
        return None if answer is None else answer["text"]

    def error(self, correlation: int) -> LLMOSError:
        return from_wire(self.answer(correlation))

    def retry(self) -> None:
        """Its process dies, and the next incarnation begins the turn again."""
        self.agent.crash()
        self.world.advance(1)
        self.agent = self.world.agent(self.agent.id)
        self.turn = self.agent.turn_of("work")

    def revive_kernel(self) -> None:
        engine = self.world.engine()
        self.world.kill_kernel()
        self.world.client.connect()
        self.agent.open = [self.turn]
        self.agent.connect()
        engine.agent.connect()
        engine.ready()

    def resource(self, resource: str) -> tuple[int, int]:
        """Return used and reserved."""
        self.world.core.state.budgets.tree.check_integrity()
        account = self.world.core.state.actors[self.agent.id].account
        assert account is not None
        return account.used[resource], account.reserved[resource]

    def top_up(self, **amounts: int) -> None:
        self.world.client.system("budget_top_up", actor=self.agent.id, amounts=amounts)


def test_a_completion_is_charged_its_prompt_and_its_tokens_once() -> None:
    world = make_world(price_in=3_000_000, price_out=15_000_000)
    asker = Asker(world, tokens=1000, money=1_000_000, llm_calls=9)
    asked = asker.ask(100)
    world.engine().ready()

    world.engine().run()

    assert asker.text(asked) == completion_of(PROMPT.encode(), 100)
    assert asker.resource("tokens") == (105, 0)
    assert asker.resource("money") == (5 * 3 + 100 * 15, 0)
    assert asker.resource("llm_calls") == (1, 0)
    assert asker.resource("kv_blocks") == (0, 0)


def test_money_is_rounded_up_once_a_completion_whatever_the_slices() -> None:
    world = make_world(price_in=150_000, price_out=600_001)
    asker = Asker(world, money=1_000_000)
    asker.ask(200)
    world.engine().ready()

    world.engine().run()

    exact = 5 * 150_000 + 200 * 600_001
    assert asker.resource("money") == (-(-exact // 1_000_000), 0)


@pytest.mark.parametrize("flags", [0, STREAM])
@pytest.mark.parametrize("limit", [5 + 1, 5 + 64, 5 + 65, 5 + 100])
def test_a_completion_pauses_at_its_limit_and_goes_on_as_if_it_had_not(
    limit: int, flags: int
) -> None:
    world = make_world()
    asker = Asker(world, tokens=limit)
    asked = asker.ask(150, flags=flags)
    engine = world.engine()
    engine.ready()
    engine.run()
    paused = (asker.resource("tokens"), asker.answer(asked))
    status = world.client.system("llm_status")["engines"][0]

    asker.top_up(tokens=7)
    engine.run()
    again = asker.resource("tokens")
    asker.top_up(tokens=1000)
    engine.run()

    assert paused == ((limit, 0), None)
    assert (status["running"], status["blocks_used"]) == (0, 0)
    assert again == (limit + 7, 0)
    assert asker.text(asked) == completion_of(PROMPT.encode(), 150)
    assert asker.resource("tokens") == (155, 0)


def test_slices_are_reserved_before_they_are_planned() -> None:
    world = make_world()
    asker = Asker(world, tokens=10_000)
    asker.ask(150)
    engine = world.engine()
    engine.ready()
    seen = set()
    while engine.step():
        seen.add(sum(asker.resource("tokens")))

    assert seen == {5 + 64, 5 + 128, 5 + 150}


@pytest.mark.parametrize("flags", [0, STREAM])
@pytest.mark.parametrize("steps", [0, 30, 64, 70])
@pytest.mark.parametrize("death", ["kernel", "engine", "agent"])
def test_after_a_death_nothing_is_charged_twice(death: str, steps: int, flags: int) -> None:
    world = make_world()
    asker = Asker(world, tokens=5 + 80)
    asked = asker.ask(120, flags=flags)
    world.engine().ready()
    for _ in range(steps):
        world.engine().step()

    if death == "kernel":
        asker.revive_kernel()
    elif death == "engine":
        world.engine().agent.crash()
        world.engine().ready()
    else:
        asker.retry()
        asked = asker.ask(120, flags=flags)
    world.engine().run()
    paused = asker.resource("tokens")
    asker.top_up(tokens=1000)
    world.engine().run()

    assert paused == (85, 0)
    assert asker.text(asked) == completion_of(PROMPT.encode(), 120)
    assert asker.resource("tokens") == (125, 0)
    assert asker.resource("llm_calls") == (1, 0)


def test_a_recorded_completion_costs_a_retried_turn_nothing() -> None:
    world = make_world()
    asker = Asker(world, tokens=1000)
    asker.ask(20)
    world.engine().ready()
    world.engine().run()

    asker.retry()
    again = asker.ask(20)

    assert asker.text(again) == completion_of(PROMPT.encode(), 20)
    assert asker.resource("tokens") == (25, 0)


def test_a_prompt_that_cannot_be_paid_is_not_computed() -> None:
    world = make_world()
    asker = Asker(world, tokens=5)
    asked = asker.ask(10)
    engine = world.engine()
    engine.ready()
    engine.run()

    assert (asker.resource("tokens"), asker.answer(asked)) == ((0, 0), None)
    assert engine.computed_tokens == 0


def test_with_raise_the_call_fails_instead_of_waiting() -> None:
    world = make_world()
    asker = Asker(world, tokens=5 + 70)
    early = asker.ask(10, prompt="x" * 90, flags=RAISE)
    late = asker.ask(100, flags=RAISE)
    world.engine().ready()

    world.engine().run()

    assert asker.error(early).fields == {
        "account": "asker",
        "resource": "tokens",
        "limit": 75,
        "used": 0,
        "needed": 91,
    }
    assert asker.error(late).code == 205
    assert asker.resource("tokens") == (75, 0)


def test_a_cancelled_completion_is_charged_what_it_has_got() -> None:
    world = make_world()
    asker = Asker(world, tokens=1000)
    asked = asker.ask(100)
    engine = world.engine()
    engine.ready()
    for _ in range(11):
        engine.step()
    world.core.state.budgets.tree.check_integrity()

    asker.agent.send(Envelope(Kind.CANCEL, asker.agent.id, correlation=asked))
    engine.run()

    used, reserved = asker.resource("tokens")
    assert reserved == 0
    assert 5 + 9 <= used <= 5 + 11


def test_a_waiting_completion_can_be_cancelled_and_costs_nothing() -> None:
    world = make_world()
    asker = Asker(world, tokens=3)
    asked = asker.ask(100)
    world.engine().ready()
    world.engine().run()

    asker.agent.send(Envelope(Kind.CANCEL, asker.agent.id, correlation=asked))
    asker.top_up(tokens=1000)
    world.engine().run()

    assert asker.resource("tokens") == (0, 0)
    assert len(world.core.state.budgets.lines) == 0


def test_a_deadline_ends_a_completion_that_waits_for_budget() -> None:
    world = make_world()
    asker = Asker(world, tokens=5 + 64)
    correlation = asker.agent.next_correlation()
    arguments = {"input": {"prompt": PROMPT}, "sampling": {"max_tokens": 100}}
    envelope = Envelope(Kind.ASK, asker.agent.id, 0, body("llm_generate", **arguments))
    envelope.turn, envelope.correlation, envelope.deadline = asker.turn, correlation, 10**9
    envelope.digest = bytes(16)
    asker.agent.send(envelope)
    world.engine().ready()
    world.engine().run()

    world.advance(2)

    assert asker.error(correlation).code == 251
    assert asker.resource("tokens") == (69, 0)
    assert world.core.state.slots.used == 1


def test_the_first_to_wait_is_the_first_to_go_on() -> None:
    world = make_world()
    asker = Asker(world, tokens=0)
    first, second = asker.ask(20, prompt="first prompt"), asker.ask(2, prompt="b")
    world.engine().ready()
    world.engine().run()
    asker.top_up(tokens=10)  # enough for the second alone
    world.engine().run()
    early = (asker.answer(first), asker.answer(second))

    asker.top_up(tokens=25)
    world.engine().run()

    assert early == (None, None)
    assert asker.text(first) == completion_of(b"first prompt", 20)
    assert asker.text(second) == completion_of(b"b", 2)
    assert asker.resource("tokens") == (35, 0)


def test_kv_blocks_of_a_budget_are_never_passed_and_all_completions_end() -> None:
    world = make_world()
    asker = Asker(world, kv_blocks=12)  # of 4 tokens
    asked = [asker.ask(30, prompt=f"prompt {number}") for number in range(5)]
    engine = world.engine()
    engine.ready()
    most = 0
    while engine.step():
        used, reserved = asker.resource("kv_blocks")
        owner = world.client.system("llm_status")["owners"]
        held = sum(line["blocks"] for line in owner if line["name"] == "asker")
        assert used == 0
        assert held <= reserved <= 12
        most = max(most, held)

    for number, correlation in enumerate(asked):
        assert asker.text(correlation) == completion_of(f"prompt {number}".encode(), 30)
    assert most == 10
    assert asker.resource("kv_blocks") == (0, 0)


@pytest.mark.parametrize("flags", [0, STREAM])
def test_a_budget_that_is_set_counts_for_a_completion_under_way_from_then_on(flags: int) -> None:
    world = make_world()
    asker = Asker(world)
    asked = asker.ask(100, flags=flags)
    engine = world.engine()
    engine.ready()
    for _ in range(20):
        engine.step()
    limits = {"tokens": 30, "kv_blocks": 50}
    world.client.system("budget_set", actor=asker.agent.id, limits=limits)
    engine.run()
    paused = asker.resource("tokens"), asker.answer(asked)

    asker.top_up(tokens=1000)
    engine.run()

    assert paused == ((30, 0), None)
    assert asker.text(asked) == completion_of(PROMPT.encode(), 100)
    used, reserved = asker.resource("tokens")
    assert 100 - 20 <= used <= 100 - 18
    assert reserved == 0


# --- endpoints --------------------------------------------------------------------------------

BOUND = prompt_bound({"prompt": PROMPT})
USAGE = {"prompt_tokens": 3, "cached_tokens": 1, "completion_tokens": 2}


def remote(**budget: int) -> tuple[EngineWorld, Asker]:
    world = make_world(price_in=1_000_000, price_out=2_000_000)
    world.client.system("model_load", name="m")
    world.engine().ready(block_size=0)
    return world, Asker(world, **budget)


def calls(engine: ScriptedEngine) -> list[Envelope]:
    found = []
    for _ in range(3):
        for envelope in engine.news():
            if envelope.kind == Kind.PREPARE:
                engine.say(Kind.PREPARED, {"ids": b""}, correlation=envelope.correlation)
            elif envelope.kind == Kind.CALL:
                found.append(envelope)
    return found


def done(engine: ScriptedEngine, call: Envelope, usage: Any = USAGE) -> None:
    completion = {"text": "Hi!", "finish_reason": "stop"} | ({"usage": usage} if usage else {})
    engine.say(Kind.DONE, completion, correlation=call.correlation)


def refuse(engine: ScriptedEngine, call: Envelope, status: int, **failure: Any) -> None:
    error = EndpointError(endpoint="http://x", status=status, problem="no")
    body = {"error": to_wire(error)} | failure
    engine.say(Kind.DONE, body, correlation=call.correlation, flags=Flag.FAILED)


def test_a_remote_call_reserves_all_it_may_come_to_and_settles_what_the_endpoint_counts() -> None:
    world, asker = remote(tokens=1000)
    asked = asker.ask(50)
    (call,) = calls(world.engine())
    reserved = asker.resource("tokens"), asker.resource("money")

    done(world.engine(), call)

    assert reserved == ((0, BOUND + 50), (0, BOUND + 100))
    assert asker.text(asked) == "Hi!"
    assert asker.resource("tokens") == (5, 0)
    assert asker.resource("money") == (7, 0)
    assert asker.resource("llm_calls") == (1, 0)


def test_a_remote_call_that_does_not_fit_waits_and_is_not_sent() -> None:
    world, asker = remote(tokens=BOUND + 49)
    asked = asker.ask(50)
    before = calls(world.engine())

    asker.top_up(tokens=1)
    (call,) = calls(world.engine())
    done(world.engine(), call)

    assert before == []
    assert asker.text(asked) == "Hi!"


def test_without_usage_all_that_was_reserved_counts_as_spent() -> None:
    world, asker = remote(tokens=1000)
    asker.ask(50)
    (call,) = calls(world.engine())

    done(world.engine(), call, usage=None)

    assert asker.resource("tokens") == (BOUND + 50, 0)


def test_what_an_endpoint_counts_beyond_the_reservation_is_overrun_never_used() -> None:
    world, asker = remote(tokens=BOUND + 60)
    asker.ask(50)
    (call,) = calls(world.engine())

    done(world.engine(), call, {"prompt_tokens": 90, "completion_tokens": 50})

    (info,) = world.client.system("budget")
    found = info["resources"]["tokens"]
    assert (found["used"], found["overrun"]) == (BOUND + 60, 140 - (BOUND + 60))


@pytest.mark.parametrize(
    ("status", "failure", "spent_tokens"),
    [
        (400, {}, 0),
        (200, {}, BOUND + 50),
        (500, {"is_in_doubt": True}, BOUND + 50),
    ],
)
def test_a_failed_call_costs_what_it_may_have_cost(
    status: int, failure: dict[str, Any], spent_tokens: int
) -> None:
    world, asker = remote(tokens=1000)
    asker.ask(50)
    (call,) = calls(world.engine())

    refuse(world.engine(), call, status, **failure)

    assert asker.resource("tokens") == (spent_tokens, 0)


def test_a_call_of_an_agent_that_is_killed_below_a_budget_counts_as_spent_in_full() -> None:
    world, parent = remote(tokens=1000)
    child = world.spawn("child", parent=parent.agent.id)
    world.client.ask(child.id, "work")
    arguments = {"input": {"prompt": PROMPT}, "sampling": {"max_tokens": 50}}
    child.system(child.turn_of("work"), "llm_generate", **arguments)
    (_,) = calls(world.engine())

    world.client.system("kill", actor=child.id)  # its account ends when the last unit is settled

    assert parent.resource("tokens") == (BOUND + 50, 0)
    world.core.state.budgets.tree.check_integrity()
    assert list(world.core.state.budgets.tree.accounts) == [parent.agent.id]


def test_a_refused_call_keeps_its_reservation_until_it_is_tried_again() -> None:
    world, asker = remote(tokens=1000)
    asked = asker.ask(50)
    (call,) = calls(world.engine())
    refuse(world.engine(), call, 429, is_unstarted=True, retry_after_s=2.0)
    meanwhile = asker.resource("tokens")
    world.advance(3)
    (again,) = calls(world.engine())

    done(world.engine(), again)

    assert meanwhile == (0, BOUND + 50)
    assert asker.text(asked) == "Hi!"
    assert asker.resource("tokens") == (5, 0)


def test_each_attempt_that_may_have_been_billed_is_paid() -> None:
    world, asker = remote(tokens=BOUND + 50)
    asked = asker.ask(50, on_doubt="retry")
    (call,) = calls(world.engine())
    refuse(world.engine(), call, 500, is_in_doubt=True)
    world.advance(5)
    before = calls(world.engine()), asker.resource("tokens")

    asker.top_up(tokens=BOUND + 50)
    world.advance(5)
    (again,) = calls(world.engine())
    done(world.engine(), again)

    assert before == ([], (BOUND + 50, 0))
    assert asker.text(asked) == "Hi!"
    assert asker.resource("tokens") == (BOUND + 50 + 5, 0)
    assert asker.resource("llm_calls") == (2, 0)


@pytest.mark.parametrize("on_doubt", ["raise", "retry"])
def test_a_call_that_was_sent_when_the_kernel_died_is_paid_once_before_others_reserve(
    on_doubt: str,
) -> None:
    world, asker = remote(tokens=BOUND + 50 + 10)
    asked = asker.ask(50, on_doubt=on_doubt)
    waiting = asker.ask(1)
    assert len(calls(world.engine())) == 1
    engine = world.engine()

    world.kill_kernel()
    world.client.connect()
    asker.agent.open = [asker.turn]
    asker.agent.connect()
    engine.agent.connect()
    engine.ready(block_size=0)

    assert asker.resource("tokens") == (BOUND + 50, 0)
    assert asker.answer(waiting) is None
    answer = asker.answer(asked)
    assert (answer is None) == (on_doubt == "retry")


def test_a_cancelled_call_on_its_way_counts_as_spent() -> None:
    world, asker = remote(tokens=1000)
    asked = asker.ask(50)
    assert len(calls(world.engine())) == 1

    asker.agent.send(Envelope(Kind.CANCEL, asker.agent.id, correlation=asked))

    assert asker.resource("tokens") == (BOUND + 50, 0)


def test_the_bound_of_a_prompt_is_a_token_a_byte_and_more() -> None:
    text = "ein Süßholzraspler " * 7
    messages = [{"role": "user", "content": text}, {"role": "user", "content": [{"type": "image"}]}]

    assert prompt_bound({"prompt": text}) >= len(text.encode())
    assert prompt_bound({"messages": messages}) >= len(text.encode()) + 1024
    assert spent({"name": "m"}, 7, 3) == {"llm_calls": 1, "tokens": 10, "money": 0}
    assert decode_plain(b"\xc0") is None
