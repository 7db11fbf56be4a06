"""Turns under each policy: order as the policy says, from the kernel's own record of grants."""

from __future__ import annotations

import pytest

from kernel.policy.policy_names import POLICIES
from tests.kernel.turn_contest import Contest, Crowd

NAMES = sorted(POLICIES)


@pytest.fixture(scope="module")
def crowd() -> Crowd:
    return Crowd(500)


@pytest.fixture(scope="module")
def few() -> Crowd:
    return Crowd(60)


@pytest.mark.parametrize("policy", NAMES)
def test_500_agents_get_two_slots_in_the_order_the_policy_says(crowd: Crowd, policy: str) -> None:
    contest = Contest(crowd, policy)

    given = contest.run()

    assert given == contest.expected
    assert sorted(given) == sorted(contest.jobs)  # nobody was starved, nobody had two


@pytest.mark.parametrize("policy", NAMES)
def test_agents_with_several_messages_stand_in_line_with_the_first(few: Crowd, policy: str) -> None:
    contest = Contest(few, policy, most_messages=5)

    given = contest.run()

    assert given == contest.expected
    assert sorted(given) == sorted(contest.jobs)


def test_turns_by_deadline_are_in_the_order_of_their_deadlines(few: Crowd) -> None:
    contest = Contest(few, "deadline")
    given = contest.run()

    assert given == sorted(contest.jobs, key=lambda turn: contest.jobs[turn].deadline_ns or 0)


def test_turns_by_priority_are_urgent_first_and_else_as_they_came(few: Crowd) -> None:
    contest = Contest(few, "priority")
    given = contest.run()

    assert given == sorted(contest.jobs, key=lambda turn: (contest.jobs[turn].priority, turn))


def test_turns_by_predicted_length_are_shortest_first_and_else_as_they_came(few: Crowd) -> None:
    contest = Contest(few, "sjf")
    given = contest.run()

    def length_ns(turn: int) -> int:
        return few.duration_ns(contest.agent_of(turn))

    assert given == sorted(contest.jobs, key=lambda turn: (length_ns(turn), turn))


def test_policies_differ_in_whom_they_let_go_first(few: Crowd) -> None:
    orders = set()
    for policy in NAMES:
        contest = Contest(few, policy, most_messages=3)
        orders.add(tuple(contest.agent_of(turn).id for turn in contest.run()))

    # Without parents the critical path is the program's, and no boost or quantum comes into it:
    # fcfs, round_robin and feedback agree, as do the two that go by length and the two by program.
    assert len(orders) >= 5
