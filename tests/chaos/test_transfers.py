"""Money moves between accounts while agents and the kernel are killed: nothing is lost or twice.

Plain: 30 kills. ``make soak`` runs 300. The seed is printed by a failing test's parameters.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from actors import connect
from tests.chaos.bank import OPENING_BALANCE
from tests.chaos.kernel_process import KernelProcess, kill_agent, wait_until_idle
from tests.soak import KILLS

NUM_ACCOUNTS = 8
BANK = f"{Path(__file__).with_name('bank.py')}:Account"


class Chaos:
    """Kills a random agent, or (one time in four) the kernel."""

    def __init__(self, kernel: KernelProcess, rng: random.Random) -> None:
        self.kernel = kernel
        self.rng = rng
        self.kernel_kills = 0
        self.agent_kills = 0

    def strike(self, client: Any) -> None:
        if self.rng.random() < 0.25:
            self.kernel.replace()
            self.kernel_kills += 1
            return
        while not kill_agent(client, self.rng):
            pass  # on a busy machine all may just be starting again
        self.agent_kills += 1


def run_bank(kernel: KernelProcess, *, seed: int, kills: int) -> None:
    rng = random.Random(seed)
    chaos = Chaos(kernel, rng)
    with connect(home=str(kernel.home)) as client:
        accounts = [client.spawn(BANK, name=f"account-{i}") for i in range(NUM_ACCOUNTS)]
        for account in accounts:
            account.meet(accounts)
        number = 0
        for _ in range(kills):
            for _ in range(rng.randrange(5, 25)):
                sender, to = rng.sample(range(NUM_ACCOUNTS), 2)
                accounts[sender].tell.transfer(number, to, rng.randrange(1, 50))
                number += 1
            if rng.random() < 0.5:
                sender, to = rng.sample(range(NUM_ACCOUNTS), 2)
                assert accounts[sender].pay(number, to, 7) == number
                number += 1
            chaos.strike(client)
        wait_until_idle(client)
        reports = [account.report() for account in accounts]
        assert client.system("dead_letters") == []
    assert chaos.agent_kills + chaos.kernel_kills == kills
    check(reports, number)


def check(reports: list[dict], transfers: int) -> None:
    assert sum(report["balance"] for report in reports) == NUM_ACCOUNTS * OPENING_BALANCE
    for side in ("sent", "got"):
        numbers = sorted(number for report in reports for number in report[side])
        assert numbers == list(range(transfers)), f"{side}: lost or repeated"


@pytest.mark.slow
def test_every_transfer_is_applied_exactly_once_through_thirty_kills(kernel: KernelProcess) -> None:
    run_bank(kernel, seed=2026, kills=30)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(3))
def test_every_transfer_is_applied_exactly_once_through_very_many_kills(
    kernel: KernelProcess, seed: int
) -> None:
    run_bank(kernel, seed=seed, kills=KILLS)
