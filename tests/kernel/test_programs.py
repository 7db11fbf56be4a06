"""Which program a message is part of: what a root message sets off, by asks, tells, LLM calls."""

from __future__ import annotations

from typing import Any

from ext.wire import Envelope
from ipc.plain import encode_plain
from ipc.protocol import Kind
from kernel.program import program_name, program_number, root_trace
from tests.kernel.llm.engine_world import EngineWorld
from tests.kernel.world import ScriptedAgent, World, body

TRACE = b"root of a client"


def program_of(world: World, turn: int) -> str:
    message = world.core.state.messages[turn]
    return program_name(message.envelope.trace, message.id)


def test_a_message_without_a_trace_is_a_program_of_its_own() -> None:
    assert program_name(b"", 7) != program_name(b"", 8)
    assert program_number(b"") == 0
    assert program_name(root_trace(7), 7) != program_name(root_trace(8), 8)


def test_what_the_kernel_tells_an_agent_by_itself_is_a_root() -> None:
    world = World()
    starter = world.spawn("starter", declares={"hooks": ["on_start"]})

    start = starter.granted[0]

    assert start.trace == root_trace(start.message)


def llm_call(agent: ScriptedAgent, turn: int, trace: bytes) -> int:
    correlation = agent.next_correlation()
    arguments = {"input": {"prompt": "hello"}, "sampling": {"max_tokens": 30}}
    envelope = Envelope(Kind.ASK, agent.id, 0, body("llm_generate", **arguments))
    envelope.turn, envelope.correlation, envelope.trace = turn, correlation, trace
    envelope.digest = b"d" * 16
    agent.send(envelope)
    return correlation


def request_of(world: EngineWorld) -> Any:
    (job,) = world.core.llm.generation.jobs.values()
    return job.request


def test_an_llm_request_is_of_its_turns_program_and_stays_so_in_the_next_kernel() -> None:
    world = EngineWorld()
    world.add_model()
    agent = world.spawn("agent")
    world.client.ask(agent.id, "go", trace=TRACE)
    turn = agent.turn_of("go")
    llm_call(agent, turn, agent.granted[-1].trace)
    world.engine().ready()
    world.engine().listen()

    assert program_of(world, turn) == TRACE.hex()
    assert request_of(world).program == program_number(TRACE)

    world.kill_kernel()
    agent.open = [turn]
    agent.connect()
    engine = world.engine()
    engine.agent.connect()
    engine.ready()
    engine.listen()
    assert program_of(world, turn) == TRACE.hex()
    assert request_of(world).program == program_number(TRACE)


def test_a_program_that_has_had_more_goes_behind_one_that_has_had_less() -> None:
    world = World(turn_slots=1, turn_policy="least_attained")
    first, second, third, holder = (world.spawn(f"agent{number}") for number in range(4))
    world.client.tell(first.id, "long", trace=TRACE)
    world.now_ns += 500_000_000
    first.commit(first.turn_of("long"))
    world.client.tell(holder.id, "hold")
    world.client.tell(second.id, "go on", trace=TRACE)  # another agent, the same program
    world.client.tell(third.id, "fresh", trace=b"another of these")

    holder.commit(holder.turn_of("hold"))

    assert (third.methods(), second.methods()) == (["fresh"], [])


def test_a_kernels_timer_message_stays_in_its_program() -> None:
    world = World()
    agent = world.spawn("agent")
    world.client.tell(agent.id, "go", trace=TRACE)
    payload = encode_plain(["later", [], {}])
    timer = Envelope(Kind.TIMER, agent.id, agent.id, payload, correlation=5, deadline=1000)
    timer.trace = TRACE
    agent.commit(agent.turn_of("go"), timer)

    world.advance(1)

    assert program_of(world, agent.turn_of("later")) == TRACE.hex()


def parents_of(world: World, agent: ScriptedAgent) -> tuple[int, ...]:
    return tuple(world.core.state.actors[agent.id].place.seat.parents)


def test_a_turn_names_what_it_came_of_where_a_policy_goes_by_paths() -> None:
    world = World(turn_slots=1, turn_policy="critical_path")
    first, second, third = (world.spawn(f"agent{number}") for number in range(3))
    world.introduce(first, second, third)
    world.client.tell(first.id, "go", trace=TRACE)
    turn = first.turn_of("go")
    first.ask(turn, second.id, "one", trace=TRACE)
    asked = second.turn_of("one")
    second.commit(asked, reply=1)

    world.client.tell(second.id, "hold")  # `first` has the slot again
    first.commit(turn, first.told(third.id, "two", trace=TRACE, turn=turn))

    assert second.methods()[-1] == "hold"
    assert parents_of(world, third) == (turn,)


def test_llm_requests_side_by_side_are_not_parents_of_each_other_but_of_what_follows() -> None:
    world = EngineWorld()
    world.add_model()
    agent = world.spawn("agent")
    world.client.ask(agent.id, "go", trace=TRACE)
    turn = agent.turn_of("go")
    pair = [llm_call(agent, turn, TRACE) for _ in range(2)]
    world.engine().ready()
    world.engine().listen()
    jobs = dict(world.core.llm.generation.jobs)
    assert [job.request.parents for job in jobs.values()] == [(), ()]

    world.engine().run()
    assert all(agent.answer(call) is not None for call in pair)
    llm_call(agent, turn, TRACE)
    world.engine().listen()

    assert sorted(request_of(world).parents) == sorted(jobs)
