"""Budgets of real processes: exact and kept through SIGKILLs; a process stopped at its CPU time."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from actors import connect
from tests.chaos.kernel_process import KernelProcess, kill_agent, wait_until
from tests.chaos.pretend_engine import completion_of

HERE = Path(__file__).parent
ENGINE = f"{HERE / 'pretend_engine.py'}:PretendEngine"
WRITER = f"{HERE / 'writers.py'}:Writer"
SPINNER = f"{HERE / 'spinners.py'}:Spinner"
KILLS = 12
RESOURCES = ("tokens", "money", "llm_calls")
PRICE_IN, PRICE_OUT = 1_500_000, 2_250_001


class Desk:
    """A writer with a budget and two below it; what their work comes to is known beforehand."""

    def __init__(self, client: Any) -> None:
        self.client = client
        client.system("model_add", spec={
            "name": "pretend", "driver": ENGINE, "price_in": PRICE_IN, "price_out": PRICE_OUT
        })  # fmt: skip
        client.system("model_use", name="pretend")
        desk = client.spawn(WRITER, name="desk", budget={"tokens": 600, "money": "0.0012"})
        budgets = ({"tokens": 200}, {"llm_calls": 3})
        self.writers = {"desk": desk}
        for number, budget in enumerate(budgets):
            name = f"writer-{number}"
            self.writers[name] = client.spawn(WRITER, name=name, parent=desk, budget=budget)
        self.expected = {name: dict.fromkeys(RESOURCES, 0) for name in self.writers}
        self.texts: dict[str, str] = {}

    def work(self, rng: random.Random) -> None:
        """Tell somebody to write something."""
        name, number = rng.choice(sorted(self.writers)), len(self.texts)
        prompt, count = f"prompt {rng.randrange(50)}", rng.randrange(5, 90)
        getattr(self.writers[name].tell, rng.choice(["write", "read"]))(number, prompt, count)
        self.texts[f"{number}"] = completion_of(prompt.encode(), count)
        price = len(prompt) * PRICE_IN + count * PRICE_OUT
        for resource, amount in (
            ("tokens", len(prompt) + count),
            ("money", -(-price // 1_000_000)),
            ("llm_calls", 1),
        ):
            self.expected[name][resource] += amount

    def accounts(self) -> dict[str, dict[str, Any]]:
        """Return all accounts; no limit is passed in any of them."""
        found = {info["name"]: info["resources"] for info in self.client.system("budget")}
        for name, resources in found.items():
            for resource, info in resources.items():
                taken = info["used"] + info["reserved"] + info["promised"]
                assert info["limit"] is None or taken <= info["limit"], (name, resource, info)
                assert info["overrun"] == 0
        return found

    def top_up(self, rng: random.Random) -> None:
        more = {"tokens": rng.randrange(1, 200), "money": rng.randrange(1, 400)}
        self.client.system("budget_top_up", actor="desk", amounts=more)

    def set_free(self) -> None:
        """Let everybody have what they need; the desk still counts."""
        for name in self.writers:
            free = dict.fromkeys(
                ("tokens", "money", "llm_calls"), 10**9 if name == "desk" else None
            )
            self.client.system("budget_set", actor=name, limits=free)


def strike(kernel: KernelProcess, client: Any, rng: random.Random) -> None:
    kind = rng.choice(("kernel", "engine", "writer", "desk"))
    if kind == "kernel":
        kernel.replace()
    else:
        kill_agent(client, rng, kind)


@pytest.mark.slow
def test_budgets_are_exact_and_kept_through_kills_of_everything(kernel: KernelProcess) -> None:
    rng = random.Random(2026)
    with connect(home=str(kernel.home)) as client:
        desk = Desk(client)
        for _ in range(KILLS):
            for _ in range(rng.randrange(1, 4)):
                desk.work(rng)
            strike(kernel, client, rng)
            desk.accounts()
            desk.top_up(rng)
        desk.set_free()
        wait_until(lambda: desk.accounts() and not client.system("status")["pending_messages"])
        found = desk.accounts()
        written = [writer.report() for writer in desk.writers.values()]
        assert client.system("dead_letters") == []

    sums = {r: sum(expected[r] for expected in desk.expected.values()) for r in RESOURCES}
    assert {r: found["desk"][r]["used"] for r in RESOURCES} == sums
    for name in ("writer-0", "writer-1"):
        used = {r: found[name].get(r, {"used": 0})["used"] for r in RESOURCES}
        assert used == desk.expected[name], name
    texts = {number: text for report in written for number, text in report.items()}
    assert texts == {number: [text] for number, text in desk.texts.items()}


@pytest.mark.slow
def test_a_process_stands_still_at_its_cpu_time_and_goes_on_after_a_top_up(
    kernel: KernelProcess,
) -> None:
    with connect(home=str(kernel.home)) as client:
        spinner = client.spawn(SPINNER, name="spinner", budget={"cpu_s": 1.0})
        spinner.tell.spin(2.5)
        (row,) = client.system("ps")
        wait_until(lambda: is_stopped(row["pid"]))
        (info,) = client.system("budget")
        cpu = info["resources"]["cpu_s"]
        client.system("budget_top_up", actor="spinner", amounts={"cpu_s": 60 * 10**9})
        used = spinner.spin(0.0)
        (after,) = client.system("ps")

    assert (cpu["used"], cpu["left"], info["suspended"]) == (10**9, 0, ["cpu_s"])
    assert used >= 2.5
    assert (after["pid"], after["incarnation"]) == (row["pid"], 1)


def is_stopped(pid: int) -> bool:
    text = Path(f"/proc/{pid}/stat").read_text()
    return text.rpartition(")")[2].split()[0] == "T"
