"""Who of those that run gives way to those that wait with a smaller key and would not fit.

Among those only whom the policy lets be preempted for it: never to admit an equal. Nobody gives way
to one that has to wait for the tokens of a later step anyway, be it that the prompts of smaller
keys that run take all of this one.

Cost: nothing beyond a look at the head of the line while no key that waits is below one that runs;
else O(running), and a few microseconds for each request looked at, at most ``MAX_URGENT``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kernel.llm.draft import Draft
from kernel.llm.relief import Relief
from kernel.llm.room import Room
from kernel.llm.shared import Shared
from kernel.llm.task import Task

MAX_URGENT = 8  # requests that others give way to in one plan


@dataclass(slots=True)
class Openings:
    """What there is for those that come in.

    slots, blocks, tokens: free, of this step.  decoding: requests a block each is kept for; 0 once
    it is counted how many need one.  victims: who may give way, the first to do so last; None: not
    looked for yet.
    """

    slots: int
    blocks: int
    tokens: int
    decoding: int
    victims: list[Task] | None = None


class GivingWay:
    """See the module head."""

    def __init__(self, shared: Shared, relief: Relief, room: Room) -> None:
        self._shared = shared
        self._relief = relief
        self._room = room

    def make_way(self, draft: Draft) -> None:
        """Preempt for those that wait with a smaller key, before anything is planned."""
        shared = self._shared
        head = shared.line.head()
        margin = shared.policy.margin
        if head is None or head.key + margin >= shared.batch.rows.highest_key():
            return
        openings = None if shared.is_leaving(head) else self._openings(head, draft)
        if openings is None:
            return
        for task in self._urgent(head):
            if not self._make_way_for(task, openings, draft, head.key + margin):
                return

    def _openings(self, head: Task, draft: Draft) -> Openings | None:
        """Return what there is; None: running prompts of smaller keys take all tokens."""
        batch = self._shared.batch
        decoding = len(batch.decodes())
        tokens = draft.budget - decoding
        if batch.prefilling:
            ahead = sum(
                each.known - each.planned
                for each in batch.prefilling.values()
                if each.key <= head.key
            )
            if ahead and ahead >= tokens:
                return None
            tokens -= ahead
        # Each decode takes a block at most.
        return Openings(len(batch.free), self._room.free() - decoding, tokens, decoding)

    def _urgent(self, head: Task) -> Iterator[Task]:
        """Yield those to make way for: mostly the first takes all tokens there are."""
        yield head
        yield from (each for each in self._shared.line.first(MAX_URGENT) if each is not head)

    def _make_way_for(self, task: Task, openings: Openings, draft: Draft, above: float) -> bool:
        """Let as many give way as one needs, if they are enough; True: look at the next."""
        if self._shared.is_leaving(task):
            return False
        cached, computing = self._room.look_up(task)
        if computing:
            return openings.tokens > 0  # it stands aside for the next
        needed = self._room.needed(task, cached)
        self._find_blocks(openings, needed)
        if openings.victims is None and not (openings.slots and openings.blocks >= needed):
            openings.victims = self._relief.candidates(above)
        chosen, gained = self._choose(task, openings, needed)
        openings.slots += len(chosen)
        openings.blocks += gained
        if not openings.slots or openings.blocks < needed:
            return False
        for victim in chosen:
            assert openings.victims is not None
            openings.victims.remove(victim)
            self._relief.preempt(victim, draft)
        openings.slots -= 1
        openings.blocks -= needed
        openings.tokens -= task.request.num_tokens - cached
        return openings.tokens > 0

    def _find_blocks(self, openings: Openings, needed: int) -> None:
        """Look closer at what is free, if that is too little: decodes, then holds."""
        if openings.blocks < needed and openings.decoding:
            openings.blocks += openings.decoding - self._room.growth()
            openings.decoding = 0
        if openings.blocks < needed:
            openings.blocks += self._room.let_go(needed - openings.blocks)

    def _choose(self, task: Task, openings: Openings, needed: int) -> tuple[list[Task], int]:
        """Return who gives way to a task, as far as there is need, and the blocks they have."""
        policy, cache = self._shared.policy, self._shared.cache
        chosen: list[Task] = []
        gained = 0
        for victim in reversed(openings.victims or ()):
            is_enough = openings.slots + len(chosen) and openings.blocks + gained >= needed
            if is_enough or victim.key <= task.key + policy.margin:
                break
            if policy.may_preempt(task.request, victim.request):
                chosen.append(victim)
                gained += cache.state(victim.handle).num_blocks
        return chosen, gained
