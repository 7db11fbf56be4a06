"""Accounts that send each other money; the agents of the chaos test."""

from __future__ import annotations

from actors import Actor, ActorRef, receive

OPENING_BALANCE = 1000


class Account(Actor):
    """Keeps a balance and the numbers of the transfers it has sent and got."""

    @receive
    async def meet(self, others: list[ActorRef]) -> None:
        self.state["others"] = others
        self.state["balance"] = OPENING_BALANCE
        self.state["sent"] = []
        self.state["got"] = []

    @receive
    async def transfer(self, number: int, to: int, amount: int) -> None:
        """Move money by a tell: both sides in one commit each."""
        self.state["balance"] -= amount
        self.state["sent"].append(number)
        await self.state["others"][to].tell.deposit(number, amount)

    @receive
    async def pay(self, number: int, to: int, amount: int) -> int:
        """Move money by an ask: the answer is recorded, so a retry does not pay twice."""
        receipt = await self.state["others"][to].deposit(number, amount)
        self.state["balance"] -= amount
        self.state["sent"].append(number)
        return receipt

    @receive
    async def deposit(self, number: int, amount: int) -> int:
        self.state["balance"] += amount
        self.state["got"].append(number)
        return number

    @receive
    async def report(self) -> dict:
        return {key: self.state[key] for key in ("balance", "sent", "got")}
