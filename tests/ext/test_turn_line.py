"""The line of turns against a model: a list of who waits, and the policy's keys."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ext.job import Job
from ext.turn import Turn
from ext.turn_line import TurnLine
from ext.wire import Envelope
from kernel.policy.policy_names import POLICIES
from kernel.turn_order import TurnOrder
from tests.reference.fair_share import NAME, OneByOne
from tests.trials import trials

TOKEN_NS = 10


@dataclass(eq=False)
class Agent:
    """What a line asks of an agent."""

    id: int
    spec: dict[str, Any] = field(default_factory=dict)
    concurrency: int = 1
    place: Any = None
    open: dict[int, Any] = field(default_factory=dict)


@dataclass
class Watched:
    """A policy that orders by priority, and remembers what it was told."""

    told: list[tuple[str, int]] = field(default_factory=list)
    given: dict[int, int] = field(default_factory=dict)

    def on_arrival(self, job: Job, now_ns: int) -> None:
        self.told.append(("arrival", job.id))

    def key(self, job: Job, now_ns: int) -> float:
        return float(job.priority)

    def on_service(self, job: Job, tokens: int, now_ns: int) -> None:
        self.given[job.id] = self.given.get(job.id, 0) + tokens

    def on_done(self, job: Job, now_ns: int) -> None:
        self.told.append(("done", job.id))

    def rekey(self, now_ns: int) -> list[int]:
        return []


def line_of(policy: Any, *, tells_at_once: bool = False, tells_last: bool = True) -> TurnLine:
    return TurnLine(
        key=policy.key,
        on_arrival=policy.on_arrival,
        on_service=policy.on_service,
        on_done=policy.on_done,
        rekey=policy.rekey,
        lengths=None,
        token_ns=TOKEN_NS,
        tells_at_once=tells_at_once,
        tells_last=tells_last,
    )


def message(number: int, priority: int = 4) -> Any:
    return SimpleNamespace(id=number, due_ns=0, envelope=Envelope(1, priority=priority))


def begin(agent: Agent, number: int) -> None:
    agent.open[number] = Turn(message(number))


def park(turn: Turn, *, is_parked: bool = True) -> None:
    turn.outstanding = {77} if is_parked else set()


Step = tuple[str, int, int]
STEPS = st.tuples(
    st.sampled_from(["line_up", "leave", "take", "end", "raise"]),
    st.integers(0, 5),
    st.integers(0, 7),
)


@settings(max_examples=trials(150), deadline=None)
@given(steps=st.lists(STEPS, max_size=40), tells_at_once=st.booleans())
def test_turns_are_taken_in_the_order_of_keys_and_each_job_is_told_once(
    steps: list[Step], tells_at_once: bool
) -> None:
    policy = Watched()
    line, agents = line_of(policy, tells_at_once=tells_at_once), [Agent(n) for n in range(6)]
    waiting: list[list[int]] = []  # [priority, place, job, agent]
    number = place = 0
    for kind, which, priority in steps:
        agent = agents[which]
        standing = [entry for entry in waiting if entry[3] == which]
        number += 1
        if kind == "line_up" and not agent.open:
            place += 1
            waiting = [entry for entry in waiting if entry[3] != which]
            line.line_up(agent, message(number), number, priority)
            waiting.append([priority, place, number, which])
        elif kind == "leave":
            line.leave(agent, number)
            waiting = [entry for entry in waiting if entry[3] != which]
        elif kind == "raise" and standing:
            line.raise_priority(standing[0][2], priority, number)
            standing[0][0] = min(standing[0][0], priority)
        elif kind == "take":
            line.settle(number)
            seat = line.take(number)
            assert (seat.id if seat else None) == (min(waiting)[2] if waiting else None)
            if seat is not None:
                waiting.remove(min(waiting))
                begin(agents[seat.owner], seat.id)
                assert line.account(agents[seat.owner], number) == 1
        elif kind == "end":
            agent.open.clear()
            assert line.account(agent, number) == 0
        line.check_integrity()
        assert len(line) == len(waiting)
    for agent in agents:
        agent.open.clear()
        line.account(agent, number)
        line.leave(agent, number)
    line.settle(number)

    arrived = [job for what, job in policy.told if what == "arrival"]
    done = [job for what, job in policy.told if what == "done"]
    assert sorted(arrived) == sorted(done)
    assert len(set(done)) == len(done)
    assert not line.seats
    assert not len(line)


@pytest.mark.parametrize(("tells_last", "tokens"), [(True, 8), (False, 7)])
def test_service_is_counted_in_tokens_and_at_least_one_a_stretch(
    tells_last: bool, tokens: int
) -> None:
    policy, agent = Watched(), Agent(1)
    line = line_of(policy, tells_last=tells_last)
    line.line_up(agent, message(5), 100, 4)
    seat = line.take(100)
    assert seat is not None
    begin(agent, 5)
    line.account(agent, 100)

    park(agent.open[5])
    line.account(agent, 100 + 7 * TOKEN_NS + 9)
    line.line_up_answer(agent, agent.open[5].message, 77, 200, 4)
    park(agent.open[5], is_parked=False)
    again = line.take(200)
    line.account(agent, 200)
    agent.open.clear()
    line.account(agent, 201)

    assert again is seat
    assert policy.given == {5: tokens}


@pytest.mark.parametrize(
    ("parked", "running"), [(set(), 2), ({1}, 1), ({3}, 1), ({1, 3}, 0), ({1, 2, 3}, 0)]
)
def test_a_parked_turn_is_at_work_wherever_it_stands_and_holds_no_slot(
    parked: set[int], running: int
) -> None:
    """Of turns that a new kernel finds under way the parked one need not be among the first."""
    agent = Agent(1, concurrency=2)
    line = line_of(Watched())
    for number in (1, 2, 3):
        begin(agent, number)
        park(agent.open[number], is_parked=number in parked)

    assert line.account(agent, 1) == running
    line.check_integrity()


def test_a_turn_that_is_found_to_be_parked_late_takes_the_slot_of_the_last_that_runs() -> None:
    """Of an adopted agent's three turns two may run, until the third is known to be parked."""
    agent = Agent(1, concurrency=2)
    line = line_of(Watched())
    for number in (1, 2, 3):
        begin(agent, number)
        park(agent.open[number], is_parked=False)
    assert line.account(agent, 1) == 2

    park(agent.open[3], is_parked=True)

    assert line.account(agent, 2) == 1
    assert [seat.id for seat in agent.place.begun if seat.since_ns] == [1]
    line.check_integrity()


def test_the_policy_is_told_of_an_end_after_the_next_arrival_of_the_agent() -> None:
    policy, agent = Watched(), Agent(1)
    line = line_of(policy)
    line.line_up(agent, message(1), 1, 4)
    line.take(1)
    begin(agent, 1)
    line.account(agent, 1)

    agent.open.clear()
    line.account(agent, 2)
    line.line_up(agent, message(2), 2, 4)
    line.settle(2)

    assert policy.told == [("arrival", 1), ("arrival", 2), ("done", 1)]


def test_a_job_that_begins_anew_was_forgotten_before_and_others_are_not() -> None:
    policy, first, second = Watched(), Agent(1), Agent(2)
    line = line_of(policy)
    for agent, number in ((first, 1), (second, 2)):
        line.line_up(agent, message(number), number, 4)
    for agent in (first, second):
        line.leave(agent, 3)

    line.line_up(first, message(1), 4, 4)
    line.settle(5)

    told = [("arrival", 1), ("arrival", 2), ("done", 1), ("arrival", 1), ("done", 2)]
    assert policy.told == told


def test_a_key_that_is_no_number_is_refused() -> None:
    class Broken(Watched):
        def key(self, job: Job, now_ns: int) -> float:
            return math.nan

    line = line_of(Broken())

    with pytest.raises(ValueError, match="key of job 3 is nan"):
        line.line_up(Agent(1), message(3), 1, 4)


class Served:
    """Agents of three turns at once each, in a line of a turn policy; slots are plenty."""

    def __init__(self, policy: str) -> None:
        self.line = TurnOrder(policy)
        self.agents = [Agent(n, {"weight": 1.0 + n % 2}, concurrency=3) for n in range(3)]
        self.number = 0

    def act(self, kind: str, which: int, now_ns: int) -> Any:
        agent, turns = self.agents[which], list(self.agents[which].open.values())
        running = [turn for turn in turns if not turn.is_parked]
        if kind == "line_up" and len(turns) < 3 and not (agent.place and agent.place.seat):
            self.number += 1
            self.line.line_up(agent, message(self.number), now_ns, 4)
        elif kind == "park" and running:
            park(running[0])
        elif kind == "answer" and len(turns) > len(running):
            turn = next(turn for turn in turns if turn.is_parked)
            self.line.line_up_answer(agent, turn.message, turn.message.id, now_ns, 4)
        elif kind == "end" and running:
            del agent.open[running[-1].message.id]
        if kind != "take":
            self.line.account(agent, now_ns)
            return None
        self.line.settle(now_ns)
        return self.take(now_ns)

    def take(self, now_ns: int) -> int | None:
        seat = self.line.take(now_ns)
        if seat is None:
            return None
        agent = self.agents[seat.owner]
        if seat.call:
            park(agent.open[seat.id], is_parked=False)
        else:
            begin(agent, seat.id)
        self.line.account(agent, now_ns)
        self.line.check_integrity()
        return seat.id


ACTS = st.tuples(
    st.sampled_from(["line_up", "line_up", "take", "take", "park", "answer", "end"]),
    st.integers(0, 2),
    st.integers(1, 9),
)


@settings(max_examples=trials(150), deadline=None)
@given(acts=st.lists(ACTS, min_size=20, max_size=80))
def test_turns_of_an_owner_move_together_as_if_each_was_named(
    acts: list[tuple[str, int, int]],
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(POLICIES, NAME, OneByOne)
        ours, each = Served("fair_share"), Served(NAME)
    now_ns = 0

    for kind, which, step in acts:
        now_ns += 1_000 * step
        assert ours.act(kind, which, now_ns) == each.act(kind, which, now_ns)
