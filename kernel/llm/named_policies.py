"""The scheduling policies of kernel/policy, as the schedulers of engines ask them.

A policy there orders jobs in one queue and names a quantum; a scheduler of an engine has requests,
several of which run at once, and there may be several engines. This stands between: it makes jobs
of requests, asks for a running request's key again when its quantum is used up, guesses lengths
for the policies that order by them, and gives each engine a view of its own on the one policy, so
that what a program was given at one engine counts at all of them.

Promises:
  N1  a key that has changed is named by the `rekey` of the view whose engine has the request, once;
      where all of an owner's requests have one key, by the `rekey_owners` of all views with some.
  N2  what ends is forgotten; a length is learned only of a request whose engine has ended it.
  N3  a request without a program counts for its owner's.
  N4  policies that order by length guess and count tokens of the completion alone: those of the
      prompt are known, and cost far less each.
  N5  nobody is preempted to admit an equal: under `priority` only for who was sent as more urgent,
      under `fcfs` for nobody. Keys grow with age there, so that an older request of the same
      priority, back from an engine that died, has a smaller one; it waits at the head of the line.
  N6  `estimate` is None until HISTORY lengths have been learned: a guess from nothing is none.
Cost: one dictionary look-up and the policy's own cost a call; a guess for `sjf` and `srpt`, and
for all where admission expects lengths, besides (bench/predictor.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from kernel.llm.policies import Policy
from kernel.llm.request import Request
from kernel.policy.estimate import Estimate
from kernel.policy.length_predictor import CallFeatures, LengthPredictor
from kernel.policy.policy import Job
from kernel.policy.policy import Policy as JobPolicy
from kernel.policy.policy_names import BY_LENGTH, BY_OWNER, POLICIES, new_policy

HISTORY = 50  # completions
NOT_PREEMPTIVE = frozenset({"fcfs"})
BY_CLASS = frozenset({"priority"})  # an urgent request preempts those of lower priorities
NAMES = tuple(POLICIES)


def policy_by_name(name: str) -> Policy:
    """Return a new policy for the one scheduler that uses it.

    Raises:
        UnknownPolicyError: lists those there are.
    """
    return NamedPolicies(name)()


@dataclass(slots=True)
class Standing:
    """A request as its policy knows it.

    left: tokens of its quantum; None: it has no quantum.  emitted: tokens told of (N4).
    """

    request: Request
    job: Job
    left: int | None
    estimate: Estimate | None
    view: View
    emitted: int = 0


class NamedPolicies:
    """One policy, and its views: call it to get one for a scheduler."""

    __slots__ = ("_guesses_all", "_predictor", "name", "policy", "standings", "views")

    def __init__(self, name: str, *, guesses_all: bool = False) -> None:
        """guesses_all: also for policies that do not order by length.

        Raises: UnknownPolicyError: lists those there are.
        """
        self.name = name
        self.policy: JobPolicy = new_policy(name)
        self._guesses_all = guesses_all
        self._predictor = LengthPredictor() if guesses_all or self.is_by_length else None
        self.standings: dict[int, Standing] = {}
        self.views: dict[View, int] = {}  # how many requests each has, if any

    @property
    def is_by_owner(self) -> bool:
        """Say whether all requests of an owner have one key."""
        return self.name in BY_OWNER

    @property
    def is_by_length(self) -> bool:
        """Say whether the policy orders by length (N4)."""
        return self.name in BY_LENGTH

    @property
    def has_history(self) -> bool:
        """Say whether guesses are from what has been learned (N6)."""
        return self._predictor is not None and self._predictor.num_learned >= HISTORY

    def __call__(self) -> View:
        """Return a view for one more scheduler."""
        return View(self)

    def use(self, name: str, now_ns: int) -> None:
        """Order by another policy from now on. It begins without memory, with those who are here.

        Raises:
            UnknownPolicyError: lists the policies there are. Nothing was changed.
        """
        if name == self.name:
            return
        self.policy = new_policy(name)
        self.name = name
        if not (self._guesses_all or self.is_by_length):
            self._predictor = None
        elif self._predictor is None:
            self._predictor = LengthPredictor()
        for view in self.views:
            view.moved.clear()  # keys of the policy before
        for standing in list(self.standings.values()):
            self.arrive(standing.request, standing.view, now_ns)
            standing.view.changed[standing.request.id] = None

    def arrive(self, request: Request, view: View, now_ns: int) -> None:
        """Take note of a new request at one of the engines."""
        estimate = None
        if self._predictor is not None:
            estimate = self._predictor.predict(features_of(request))
        job = job_of(request, now_ns, estimate if self.is_by_length else None)
        self.policy.on_arrival(job, now_ns)
        quantum = self.policy.quantum_tokens(job)
        self.standings[request.id] = Standing(
            request, job, quantum, estimate, view, request.num_emitted
        )

    def end(self, request: Request, now_ns: int) -> None:
        """Forget a request, and learn from it if it was computed to its end (N2)."""
        standing = self.standings.pop(request.id)
        self.policy.on_done(standing.job, now_ns)
        if self._predictor is not None and standing.estimate and request.is_complete:
            self._predictor.learn(features_of(request), request.num_emitted, standing.estimate)

    def collect(self, now_ns: int) -> None:
        """Tell each view which of its keys have changed (N1)."""
        for number in self.policy.rekey(now_ns):
            standing = self.standings.get(number)
            if standing is not None:
                standing.view.changed[number] = None

    def move_owner(self, job: Job, now_ns: int) -> None:
        """One of an owner's jobs was served: tell each view the key of all of them (N1)."""
        key = self.policy.key(job, now_ns)
        for view in self.views:
            view.moved[job.owner] = key


class View:
    """The policy of one scheduler; see kernel/llm/policies.py ``Policy``."""

    __slots__ = ("_policies", "changed", "moved")

    def __init__(self, policies: NamedPolicies) -> None:
        self._policies = policies
        self.changed: dict[int, None] = {}
        self.moved: dict[Any, float] = {}  # owners, and their keys of now

    @property
    def margin(self) -> float:
        """See ``Policy``."""
        return self._policies.policy.margin

    @property
    def is_by_owner(self) -> bool:
        """See ``Policy``."""
        return self._policies.is_by_owner

    def on_arrival(self, job: Request, now_ns: int) -> None:
        """See ``Policy``."""
        self._policies.arrive(job, self, now_ns)
        views = self._policies.views
        views[self] = views.get(self, 0) + 1

    def key(self, job: Request, now_ns: int) -> float:
        """See ``Policy``."""
        standing = self._policies.standings[job.id]
        if standing.job.priority != job.priority:
            standing.job.priority = job.priority
        return self._policies.policy.key(standing.job, now_ns)

    def estimate(self, job: Request) -> Estimate | None:
        """See ``Policy`` (N6)."""
        if not self._policies.has_history:
            return None
        return self._policies.standings[job.id].estimate

    def may_preempt(self, waiting: Request, running: Request) -> bool:
        """See ``Policy``. What has aged, or came earlier, waits first in line (N5)."""
        if self._policies.name in NOT_PREEMPTIVE:
            return False
        return self._policies.name not in BY_CLASS or waiting.priority < running.priority

    def rekey(self, now_ns: int) -> Iterable[int]:
        """See ``Policy``."""
        self._policies.collect(now_ns)
        if not self.changed:
            return ()
        changed, self.changed = self.changed, {}
        return changed

    def rekey_owners(self, now_ns: int) -> Iterable[tuple[int, float]]:
        """See ``Policy``."""
        if not self.moved:
            return ()
        moved, self.moved = self.moved, {}
        return moved.items()

    def on_service(self, job: Request, tokens: int, now_ns: int) -> None:
        """See ``Policy``."""
        standing = self._policies.standings[job.id]
        if standing.estimate is not None and self._policies.is_by_length:  # N4
            emitted = job.num_emitted
            tokens, standing.emitted = emitted - standing.emitted, emitted
        self._policies.policy.on_service(standing.job, tokens, now_ns)
        if self._policies.is_by_owner:
            self._policies.move_owner(standing.job, now_ns)
        if standing.left is None:
            return
        standing.left -= tokens
        if standing.left <= 0:
            standing.left = self._policies.policy.quantum_tokens(standing.job)
            self.changed[job.id] = None

    def on_done(self, job: Request, now_ns: int) -> None:
        """See ``Policy``."""
        self._policies.end(job, now_ns)
        self.changed.pop(job.id, None)
        views = self._policies.views
        views[self] -= 1
        if not views[self]:
            del views[self]
            self.moved.clear()


Policies = Callable[[], Policy]  # one policy for each scheduler


def program_of(request: Request) -> str:
    """Return the name of the program that a request counts for (N3)."""
    return f"p{request.program}" if request.program else f"o{request.owner}"


def features_of(request: Request) -> CallFeatures:
    """Return what the length predictor may know of a request."""
    return CallFeatures(
        program_of(request), request.call_site, request.num_prompt, request.max_tokens
    )


def job_of(request: Request, now_ns: int, estimate: Estimate | None) -> Job:
    """Return a request as a policy sees it."""
    # A deadline that has passed is the most urgent of all until the kernel's timer ends the call.
    deadline_ns = max(request.deadline_ns, now_ns + 1) if request.deadline_ns else None
    return Job(
        id=request.id,
        program=program_of(request),
        owner=request.owner,
        priority=request.priority,
        arrival_ns=request.arrival_ns,
        deadline_ns=deadline_ns,
        predicted_tokens=1.0 if estimate is None else max(estimate.key, 1.0),
        prompt_tokens=request.num_prompt,
        weight=request.weight,
        parents=request.parents,
    )
