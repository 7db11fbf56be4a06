"""LLM work of a turn that goes to another member of its pool: sessions and completions go along.

A session that the turn has opened is the new member's, with its pin. A completion goes on where it
is: one that an endpoint computes is only answered to another; one that an engine computes leaves
its queue with all its tokens and enters it again in the new owner's name, so that quota and blocks
are that one's. Its meter stays: what was reserved and charged is neither reserved nor charged anew.

What ends with the old member: a call in a session that it had from an earlier turn. It is
forgotten, and refused when the new member, which has no such session, asks it again.

Cost: O(sessions and calls of the turn); for a completion in an engine one more prefill, most of
which is found cached.
"""

from __future__ import annotations

from kernel.llm.generation import Generation
from kernel.llm.job import Job
from kernel.llm.sessions import LlmSession, LlmSessions


class LlmHandover:
    """See the module head."""

    def __init__(self, generation: Generation, sessions: LlmSessions) -> None:
        self.generation = generation
        self.state = generation.state
        self.sessions = sessions

    def settle(self) -> None:
        """Let the LLM work of turns that have moved in this loop turn move too."""
        moved, self.state.llm.moved = self.state.llm.moved, {}
        for turn, owner in moved.items():
            for identifier in self.state.llm.made.get(turn, ()):
                session = self.sessions.get(identifier)
                if session is not None:
                    self._give_session(session, owner)
            for call in list(self.state.calls.of_turn(turn)):
                job = self.generation.jobs.get(call.id)
                if job is not None:
                    self._give_job(job, owner)

    def _give_session(self, session: LlmSession, owner: int) -> None:
        self.sessions.give(session, owner)
        self.state.output.changes.put("llm_session", session.id, (session.to_row(),))
        self.generation.pins.follow(session)

    def _give_job(self, job: Job, owner: int) -> None:
        if job.session is not None and job.session.owner != owner:
            self.generation.answers.delivery.cancel_call(job.call)
        else:
            self.generation.change_owner(job)
