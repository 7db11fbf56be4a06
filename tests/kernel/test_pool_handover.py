"""What an unfinished turn has made and asked goes with it to another member of its pool."""

from __future__ import annotations

from typing import Any

import pytest

from ipc.errors import UnknownSessionError
from ipc.protocol import Kind
from tests.kernel.llm.engine_world import EngineWorld, completion_of
from tests.kernel.pools import TestedPool, keep_crashing, reconnect
from tests.kernel.world import ScriptedAgent, World

CHILD = {"qualname": "Child", "module": "tests", "name": "child"}
PROMPT, COUNT = "Hello", 12


def two_members(world: World, **spec: Any) -> tuple[TestedPool, int, ScriptedAgent, int]:
    """Return a pool of two, the ask it was sent, the member that has it, and its turn."""
    pool = TestedPool(world, minimum=2, maximum=2, spec=spec)
    asked = world.client.ask(pool.id, "work")
    member = pool.having("work")
    return pool, asked, member, member.turn_of("work")


def generate(agent: ScriptedAgent, turn: int, **more: Any) -> int:
    sampling = {"max_tokens": COUNT}
    return agent.system(turn, "llm_generate", input={"prompt": PROMPT}, sampling=sampling, **more)


def used(world: World, pool: TestedPool) -> dict[str, int]:
    """Return what the pool's account says was used; all of it must add up."""
    tree = world.core.state.budgets.tree
    tree.check_integrity()
    account = tree.accounts[pool.id]
    assert not any(account.reserved.values())
    return {name: amount for name, amount in account.used.items() if amount}


# --- children ----------------------------------------------------------------------------------


@pytest.mark.parametrize("is_killed", [True, False])
def test_a_child_of_a_turn_goes_with_it_and_is_spawned_and_asked_once(is_killed: bool) -> None:
    world = World(max_attempts=100, restart_intensity=0)
    pool, asked, lost, turn = two_members(world)
    spawned = lost.system(turn, "spawn", spec=CHILD)
    child = world.agent(lost.answer(spawned)["actor"])
    part = lost.ask(turn, child.id, "part")
    child.commit(child.turn_of("part"), reply="done")
    assert lost.answer(part) == "done"

    if is_killed:
        world.client.system("kill", actor=lost.id)
    else:
        keep_crashing(world, lost)
    heir = pool.having("work")
    again = heir.system(turn, "spawn", spec=CHILD)
    part = heir.ask(turn, child.id, "part")
    more = heir.ask(turn, child.id, "more")
    child.commit(child.turn_of("more"), reply="more done")
    heir.commit(turn, reply="all done")

    assert heir.answer(again)["actor"] == child.id
    assert (heir.answer(part), heir.answer(more)) == ("done", "more done")
    assert child.methods() == ["part", "more"]
    assert world.client.answer(asked) == "all done"
    assert world.core.state.actors[child.id].parent == heir.id


def test_a_child_that_is_still_starting_is_the_new_members_when_it_is_up() -> None:
    world = World()
    pool, _, lost, turn = two_members(world)
    (heir,) = [member for member in pool.members if member is not lost]
    world.holds_starts = True
    lost.system(turn, "spawn", spec=CHILD)

    world.client.system("kill", actor=lost.id)
    again = heir.system(turn, "spawn", spec=CHILD)
    world.start_processes()

    child = world.core.state.names.find("child")
    assert heir.answer(again)["actor"] == child
    assert child in world.core.state.actors[heir.id].handles


def test_a_child_that_was_handed_over_ends_with_its_new_parent_or_if_the_turn_never_commits() -> (
    None
):
    for commits in (True, False):
        world = World()
        pool, _, lost, turn = two_members(world)
        lost.system(turn, "spawn", spec=CHILD)
        world.client.system("kill", actor=lost.id)
        heir = pool.having("work")
        child = world.core.state.names.find("child")

        if commits:
            heir.commit(turn)
            assert child in world.core.state.actors
            world.client.system("kill", actor=heir.id)
        else:
            world.client.system("kill", actor=pool.id)

        assert child not in world.core.state.actors


def test_children_keep_their_accounts_whatever_limits_the_members_have() -> None:
    world = World()
    pool, _, lost, turn = two_members(world, budget={"messages": 100})
    for member, limit in zip(pool.members, (50, 10), strict=True):
        world.client.system("budget_set", actor=member.id, limits={"messages": limit})
    assert lost is pool.members[0]
    lost.system(turn, "spawn", spec={**CHILD, "budget": {"messages": 30}})
    child = world.core.state.actors[world.core.state.names.find("child")]
    world.core.state.budgets.tree.spend(child.account, "messages", 7)

    world.client.system("kill", actor=lost.id)
    heir = pool.having("work")
    tree = world.core.state.budgets.tree
    tree.check_integrity()

    assert child.account.parent is tree.accounts[heir.id]
    assert (child.account.limits, child.account.used) == ({"messages": 30}, {"messages": 7})
    assert tree.accounts[heir.id].limits == {"messages": 40}  # 10 of its own, 30 came along
    assert tree.accounts[heir.id].left("messages") == 10
    assert tree.accounts[pool.id].left("messages") == 60


def test_a_turn_whose_child_has_ended_by_itself_is_taken_over() -> None:  # seed 1600062
    world = World()
    pool, asked, lost, turn = two_members(world)
    child = lost.answer(lost.system(turn, "spawn", spec=CHILD))["actor"]
    world.client.system("kill", actor=child)

    world.client.system("kill", actor=lost.id)
    pool.having("work").commit(turn, reply="done")

    assert world.client.answer(asked) == "done"


# --- LLM work ----------------------------------------------------------------------------------


def with_model(**spec: Any) -> EngineWorld:
    world = EngineWorld(max_attempts=100, restart_intensity=0)
    world.add_model(**spec)
    return world


def test_a_session_of_a_turn_goes_with_it_and_goes_on_from_its_tokens() -> None:
    world = with_model()
    pool, _, lost, turn = two_members(world, budget={"tokens": 1000})
    opened = lost.system(turn, "llm_session")
    session = lost.answer(opened)["session"]
    first = generate(lost, turn, session=session)
    lost.system(turn, "llm_pin", session=session, ttl_s=60)
    world.engine().ready()
    world.engine().run()
    text = lost.answer(first)["text"]

    world.client.system("kill", actor=lost.id)
    heir = pool.having("work")
    again = heir.system(turn, "llm_session")
    first = generate(heir, turn, session=session)
    second = generate(heir, turn, session=session)  # which nobody has asked before
    world.engine().run()
    heir.commit(turn)

    assert heir.answer(again)["session"] == session
    assert heir.answer(first)["text"] == text == completion_of(PROMPT.encode(), COUNT)
    whole = f"{PROMPT}{text}{PROMPT}".encode()
    assert heir.answer(second)["text"] == completion_of(whole, COUNT)
    account = world.core.state.budgets.tree.accounts[pool.id]
    assert account.reserved["kv_blocks"] == (len(whole) + 12) // 4  # its pin has grown with it
    world.client.system("kill", actor=heir.id)
    assert len(world.core.llm.sessions) == 0
    assert used(world, pool)["tokens"] == 5 + 12 + (len(whole) + 12)


@pytest.mark.parametrize("steps", [0, 1, 7, 40])
@pytest.mark.parametrize("kills_kernel", [False, True])
def test_a_completion_under_way_goes_on_and_is_paid_once(steps: int, kills_kernel: bool) -> None:
    world = with_model(price_in=1_500_000, price_out=2_250_001)
    pool, asked, lost, turn = two_members(world, budget={"tokens": 1000, "money": 10**6})
    generate(lost, turn)
    engine = world.engine()
    engine.ready()
    for _ in range(steps):
        engine.step()

    world.client.system("kill", actor=lost.id)
    heir = pool.having("work")
    if kills_kernel:
        world.agents.pop(lost.id)
        world.kill_kernel()
        reconnect(world)
        engine.ready()
    again = generate(world.agents[heir.id], turn)
    engine.run()
    heir.commit(turn, reply="done")

    assert heir.answer(again)["text"] == completion_of(PROMPT.encode(), COUNT)
    assert world.client.answer(asked) == "done"
    money = -(-(5 * 1_500_000 + 12 * 2_250_001) // 1_000_000)
    assert used(world, pool) == {"llm_calls": 1, "tokens": 17, "money": money}
    assert world.core.statistics().get("cancelled", 0) == 0


def test_a_completion_that_waits_for_the_budget_goes_on_for_the_new_member() -> None:
    world = with_model()
    pool, _, lost, turn = two_members(world, budget={"tokens": 8})
    generate(lost, turn)
    world.engine().ready()
    world.engine().run()

    world.client.system("kill", actor=lost.id)
    heir = pool.having("work")
    again = generate(heir, turn)
    world.client.system("budget_top_up", actor=pool.id, amounts={"tokens": 100})
    world.engine().run()
    heir.commit(turn)

    assert heir.answer(again)["text"] == completion_of(PROMPT.encode(), COUNT)
    assert used(world, pool) == {"llm_calls": 1, "tokens": 17}


def test_a_call_that_an_endpoint_computes_is_sent_once_and_answered_to_the_new_member() -> None:
    world = with_model()
    world.client.system("model_load", name="m")
    engine = world.engine()
    engine.ready(block_size=0)
    pool, _, lost, turn = two_members(world, budget={"tokens": 1000})
    generate(lost, turn)
    for envelope in engine.news():
        engine.say(Kind.PREPARED, {"ids": b""}, correlation=envelope.correlation)
    (call,) = [envelope for envelope in engine.news() if envelope.kind == Kind.CALL]

    world.client.system("kill", actor=lost.id)
    heir = pool.having("work")
    again = generate(heir, turn)
    usage = {"prompt_tokens": 3, "cached_tokens": 1, "completion_tokens": 2}
    completion = {"text": "Hi!", "finish_reason": "stop", "usage": usage}
    engine.say(Kind.DONE, completion, correlation=call.correlation)
    heir.commit(turn)

    assert heir.answer(again)["text"] == "Hi!"
    assert not engine.news()
    assert used(world, pool) == {"llm_calls": 1, "tokens": 5}


def test_a_call_in_a_session_of_an_earlier_turn_ends_with_the_member() -> None:
    world = with_model()
    pool, _, lost, turn = two_members(world)
    session = lost.answer(lost.system(turn, "llm_session"))["session"]
    lost.commit(turn)
    world.client.ask(pool.id, "other")
    world.client.ask(pool.id, "more")
    assert pool.having("more") is lost
    turn = lost.turn_of("more")
    generate(lost, turn, session=session)

    world.client.system("kill", actor=lost.id)
    heir = pool.having("more")
    refused = heir.answer(generate(heir, turn, session=session))

    assert refused["code"] == UnknownSessionError.code
    assert not world.core.llm.generation.jobs


# --- nobody to take it -------------------------------------------------------------------------


def test_without_any_member_left_the_pool_keeps_what_a_turn_has_made_over_a_kernel_crash() -> None:
    world = with_model()
    pool = TestedPool(world, minimum=1, maximum=1, spec={"budget": {"tokens": 1000}})
    asked = world.client.ask(pool.id, "work")
    (lost,) = pool.members
    turn = lost.turn_of("work")
    session = lost.answer(lost.system(turn, "llm_session"))["session"]
    child = lost.answer(lost.system(turn, "spawn", spec=CHILD))["actor"]
    generate(lost, turn, session=session)
    world.engine().ready()
    world.engine().step()

    keep_crashing(world, lost)
    assert world.core.state.actors[child].parent == pool.id
    world.kill_kernel()
    world.client.connect()
    world.agents[child].connect()
    world.engine().agent.connect()
    world.engine().ready()
    world.engine().run()
    world.client.ask_system("restart", actor=lost.id)
    heir = pool.having("work")
    again = [
        heir.system(turn, "llm_session"),
        heir.system(turn, "spawn", spec=CHILD),
        generate(heir, turn, session=session),
    ]
    heir.commit(turn, reply="done")

    opened, spawned, generated = map(heir.answer, again)
    assert (opened["session"], spawned["actor"]) == (session, child)
    assert generated["text"] == completion_of(PROMPT.encode(), COUNT)
    assert world.core.state.actors[child].parent == heir.id
    assert world.client.answer(asked) == "done"
    assert used(world, pool) == {"llm_calls": 1, "tokens": 17}


def test_a_turn_that_has_asked_is_not_passed_on_as_if_nobody_had_begun_it() -> None:  # seed 4000281
    world = World(turn_slots=1)
    pool = TestedPool(world, minimum=1, maximum=2)
    other = world.spawn("other")
    for number in range(6):
        world.client.tell(pool.id, f"work {number}")
    (member,) = pool.members
    world.introduce(member, other)
    member.ask(member.turn_of("work 0"), other.id, "part")  # it gives its slot to the other

    world.kill_kernel()
    other.connect()  # it holds the only slot
    world.client.connect()
    world.exited(member.id, 1)
    world.advance(2)  # its next process is up
    world.client.system("pool_resize", pool=pool.name, minimum=2, maximum=2)
    world.advance(1)

    (_, idle) = pool.members
    assert pool.has(idle)
    assert "work 0" in pool.has(world.agent(member.id))
