"""A pool of clerks that book numbered letters in one ledger: agents of the chaos test of pools."""

from __future__ import annotations

from actors import Actor, ActorRef, receive


class Ledger(Actor):
    """Keeps what was booked, in the order in which it came."""

    @receive
    async def book(self, number: int, customer: str, clerk: str) -> None:
        self.state["booked"] = [*self.state.get("booked", []), [number, customer, clerk]]

    @receive
    async def booked(self) -> list[list]:
        return list(self.state.get("booked", []))


class Clerk(Actor):
    """Books a letter by a tell, and answers with its number."""

    @receive
    async def file(self, number: int, customer: str, ledger: ActorRef[Ledger]) -> int:
        await ledger.tell.book(number, customer, self.ref.name)
        return number
