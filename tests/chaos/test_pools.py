"""Letters go to a pool while its members and the kernel are killed: each is booked exactly once.

Members are killed both ways: SIGKILL (the supervisor starts them again) and ``llmos kill`` (they
are gone for good, and others take over). Letters of one customer are booked in the order sent.
"""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from actors import connect
from tests.chaos.kernel_process import (
    KernelProcess,
    kill_pid,
    running_kernel,
    wait_until,
    wait_until_idle,
)
from tests.chaos.pretend_engine import completion_of
from tests.soak import KILLS

AGENTS = Path(__file__).with_name("office.py")
DRAFTERS = Path(__file__).with_name("drafters.py")
ENGINE = f"{Path(__file__).with_name('pretend_engine.py')}:PretendEngine"
CUSTOMERS = ("ada", "bob", "")  # the last one's letters may go anywhere


def strike(kernel: KernelProcess, client: Any, rng: random.Random) -> str:
    """Kill something at random; return what."""
    what = rng.choice(("kernel", "process", "process", "member", "member"))
    if what == "kernel":
        kernel.replace()
        return what
    while not (members := client.system("pool", pool="clerks")["member_list"]):
        pass  # on a busy machine all may just be replaced
    victim = rng.choice(members)
    if what == "member":
        client.system("kill", actor=victim["actor"])
    for row in client.system("ps"):
        if row["actor"] == victim["actor"] and row["pid"]:
            kill_pid(row["pid"])
    return what


def run_office(kernel: KernelProcess, *, seed: int, kills: int) -> None:
    rng = random.Random(seed)
    number, struck, answers = 0, set(), []
    with connect(home=str(kernel.home)) as client:
        ledger = client.spawn(f"{AGENTS}:Ledger", name="ledger")
        pool = client.spawn_pool(f"{AGENTS}:Clerk", name="clerks", minimum=3, maximum=5)
        for _ in range(kills):
            for _ in range(rng.randrange(10, 30)):
                customer = rng.choice(CUSTOMERS)
                sent = pool.options(affinity=customer) if customer else pool
                sent.tell.file(number, customer, ledger)
                number += 1
            answers += pool.gather.file(range(number, number + 5), "", ledger)
            number += 5
            struck.add(strike(kernel, client, rng))
        wait_until_idle(client)
        booked = ledger.booked()
        assert client.system("dead_letters") == []
        assert client.system("pool", pool="clerks")["unfinished"] == 0
    assert struck == {"kernel", "process", "member"}
    check(booked, number)


def check(booked: list[list], number: int) -> None:
    assert sorted(entry[0] for entry in booked) == list(range(number)), "lost or booked twice"
    for customer in CUSTOMERS[:-1]:
        theirs = [entry[0] for entry in booked if entry[1] == customer]
        assert theirs == sorted(theirs), f"out of order: {customer}"


def test_a_turn_of_a_member_that_dies_is_finished_by_another_and_nothing_is_paid_or_done_twice(
    tmp_path: Path,
) -> None:
    with (
        running_kernel(tmp_path, restart_intensity=0, adoption_window_s=1.0) as kernel,
        connect(home=str(kernel.home)) as client,
    ):
        run_draft(kernel, client)


def run_draft(kernel: KernelProcess, client: Any) -> None:
    """SIGKILL the member that drafts, and then the kernel; the other member ends the draft."""
    client.system("model_add", spec={"name": "pretend", "driver": ENGINE})
    client.system("model_use", name="pretend")
    gate = client.spawn(f"{DRAFTERS}:Gate", name="gate")
    budget = {"tokens": 1000}
    pool = client.spawn_pool(
        f"{DRAFTERS}:Drafter", name="drafters", minimum=2, maximum=2, budget=budget
    )
    with ThreadPoolExecutor() as threads:
        drafting = threads.submit(pool.draft, "a story", 10, gate)
        wait_until(gate.come)
        members = client.system("pool", pool="drafters")["member_list"]
        (busy,) = [member["actor"] for member in members if member["outstanding"]]
        (pid,) = [line["pid"] for line in client.system("ps") if line["actor"] == busy]
        kill_pid(pid)
        wait_until(lambda: client.system("pool", pool="drafters")["taken_over"])
        kernel.replace()
        gate.open()
        first, second, asked, asked_again = drafting.result()
    whole = f"a story{first} and "
    assert first == completion_of(b"a story", 10)
    assert second == completion_of(whole.encode(), 10)
    assert (asked, asked_again, gate.come()) == (1, 2, 1)
    account, *_ = client.system("budget", actor="drafters")
    assert account["resources"]["tokens"]["used"] == 7 + 10 + len(whole) + 10
    assert account["resources"]["tokens"]["reserved"] == 0


@pytest.mark.slow
def test_every_letter_to_a_pool_is_booked_once_and_in_order_through_kills(
    kernel: KernelProcess,
) -> None:
    run_office(kernel, seed=7, kills=12)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(3))
def test_every_letter_to_a_pool_is_booked_once_through_very_many_kills(
    kernel: KernelProcess, seed: int
) -> None:
    run_office(kernel, seed=seed, kills=KILLS)
