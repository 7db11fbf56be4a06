"""The queue before a remote endpoint: order, backing off, and limits that always hold."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ipc.errors import PromptTooLongError
from kernel.llm.endpoint_limits import Limits
from kernel.llm.remote_queue import Backoff, RemoteQueue, RemoteRequest
from kernel.llm.sliding_window import WINDOW_NS
from tests.trials import trials

SECOND = 1_000_000_000


def queue_of(limits: Limits, *tokens: int) -> RemoteQueue:
    queue = RemoteQueue(limits)
    for number, each in enumerate(tokens, 1):
        queue.add(RemoteRequest(number, each, accepted_ns=number), 0)
    return queue


def test_the_concurrency_is_shared_and_a_free_place_is_taken_in_order() -> None:
    queue = queue_of(Limits(concurrency=2), 1, 1, 1, 1)

    assert queue.take_ready(0) == [1, 2]
    assert queue.take_ready(0) == []
    assert queue.next_due_ns() is None
    queue.settle(2, 1, SECOND)
    assert queue.take_ready(SECOND) == [3]


def test_a_lower_priority_number_goes_first_then_the_policy_decides() -> None:
    queue = RemoteQueue(Limits(concurrency=9), key=lambda request: float(-request.tokens))
    queue.add(RemoteRequest(1, 10, priority=4), 0)
    queue.add(RemoteRequest(2, 20, priority=4), 0)
    queue.add(RemoteRequest(3, 1, priority=0), 0)

    assert queue.take_ready(0) == [3, 2, 1]


def test_a_large_request_is_not_overtaken_by_a_small_one_that_would_fit() -> None:
    queue = queue_of(Limits(tokens_per_minute=100), 60, 50, 10)

    assert queue.take_ready(0) == [1]
    queue.settle(1, 60, SECOND)
    assert queue.take_ready(SECOND) == []
    assert queue.next_due_ns() == SECOND + WINDOW_NS
    assert queue.take_ready(SECOND + WINDOW_NS) == [2, 3]


def test_a_request_above_the_limit_of_a_minute_is_refused_and_leaves_no_trace() -> None:
    queue = queue_of(Limits(tokens_per_minute=100), 10)

    with pytest.raises(PromptTooLongError):
        queue.add(RemoteRequest(2, 101), 0)

    assert 2 not in queue
    assert queue.take_ready(0) == [1]


def test_a_refused_request_backs_off_while_others_go_on() -> None:
    queue = queue_of(Limits(concurrency=1), 1, 1)
    queue.take_ready(0)

    assert queue.retry_later(1, 0, None, attempt=1)

    assert queue.take_ready(0) == [2]
    due = queue.next_due_ns()
    assert due is not None
    assert SECOND // 4 <= due <= SECOND // 2
    queue.settle(2, 1, 1)
    assert queue.take_ready(due - 1) == []
    assert queue.take_ready(due) == [1]


def test_when_the_endpoint_says_when_to_come_back_everybody_waits() -> None:
    queue = queue_of(Limits(concurrency=1), 1, 1)
    queue.take_ready(0)

    assert queue.retry_later(1, 0, 3 * SECOND, attempt=1)

    assert queue.take_ready(3 * SECOND - 1) == []
    assert queue.next_due_ns() == 3 * SECOND
    assert queue.take_ready(3 * SECOND) == [1]  # it was accepted first


def test_an_endpoint_cannot_close_the_queue_for_longer_than_the_longest_backoff() -> None:
    queue = queue_of(Limits(), 1)
    queue.take_ready(0)

    assert queue.retry_later(1, 0, 10**18, attempt=1)

    assert queue.next_due_ns() == Backoff().max_ns


def test_after_its_last_attempt_a_request_is_gone() -> None:
    queue = RemoteQueue(Limits(concurrency=1), backoff=Backoff(max_attempts=3))
    queue.add(RemoteRequest(1, 5), 0)
    now = 0
    for attempt in (1, 2):
        assert queue.take_ready(now) == [1]
        assert queue.retry_later(1, now, None, attempt)
        now = queue.next_due_ns() or 0
    assert queue.take_ready(now) == [1]

    assert not queue.retry_later(1, now, None, 3)

    assert 1 not in queue
    assert (len(queue), len(queue.book), queue.next_due_ns()) == (0, 0, None)


def test_waits_grow_to_their_limit_and_differ_between_requests() -> None:
    backoff = Backoff(max_attempts=100)
    first = [backoff.delay_ns(1, attempt) for attempt in range(1, 100)]

    assert all(0 < wait <= backoff.max_ns for wait in first)
    assert first[0] < first[2] < first[4]
    assert first[-1] >= backoff.max_ns // 2
    assert first != [backoff.delay_ns(2, attempt) for attempt in range(1, 100)]
    assert first == [backoff.delay_ns(1, attempt) for attempt in range(1, 100)]


def test_what_a_cancelled_request_had_reserved_stays_booked_if_it_was_open() -> None:
    queue = queue_of(Limits(concurrency=1, tokens_per_minute=100), 40, 40)
    queue.take_ready(0)

    assert queue.cancel(1, SECOND)
    assert not queue.cancel(2, SECOND)
    assert not queue.cancel(3, SECOND)

    assert queue.book.booked_tokens == 40
    assert queue.take_ready(SECOND) == []
    assert 1 not in queue
    assert 2 not in queue


def test_a_cancelled_request_that_backed_off_does_not_come_again() -> None:
    queue = queue_of(Limits(), 1)
    queue.take_ready(0)
    queue.retry_later(1, 0, None, attempt=1)

    assert not queue.cancel(1, 1)

    assert queue.next_due_ns() is None
    assert queue.take_ready(10 * SECOND) == []


def test_a_new_engine_ends_all_open_requests() -> None:
    queue = queue_of(Limits(concurrency=2), 1, 1, 1)
    queue.take_ready(0)

    assert queue.end_all(1) == [1, 2]

    assert queue.take_ready(1) == [3]


def test_update_asks_the_policy_anew() -> None:
    keys = {1: 1.0, 2: 2.0}
    queue = RemoteQueue(Limits(concurrency=1), key=lambda request: keys[request.id])
    queue.add(RemoteRequest(1, 1), 0)
    queue.add(RemoteRequest(2, 1), 0)

    keys[1] = 3.0
    queue.update(1)

    assert queue.take_ready(0) == [2]


LIMITS = st.builds(
    Limits,
    concurrency=st.integers(1, 4),
    requests_per_minute=st.integers(0, 6),
    tokens_per_minute=st.sampled_from([0, 50, 100]),
)
STEPS = st.one_of(st.integers(0, 3 * SECOND), st.integers(0, 2 * WINDOW_NS))


class QueueMachine(RuleBasedStateMachine):
    """Random lives of requests; the endpoint's own book is kept by the simplest means."""

    @initialize(limits=LIMITS)
    def begin(self, limits: Limits) -> None:
        self.limits, self.now, self.next_id = limits, 0, 1
        self.queue = RemoteQueue(limits, backoff=Backoff(max_attempts=3))
        self.waiting: dict[int, tuple[int, int]] = {}  # id -> its order: priority, arrival
        self.tokens: dict[int, int] = {}
        self.backing_off: dict[int, int] = {}  # id -> due
        self.closed_until = 0
        self.attempts: dict[int, int] = {}
        self.open: dict[int, int] = {}
        self.starts: list[int] = []
        self.spent: list[tuple[int, int, int]] = []  # start, end, tokens
        self.begun: dict[int, int] = {}
        self.slack = 0  # what was rounded up

    @rule(tokens=st.integers(1, 60), priority=st.integers(0, 7))
    def add(self, tokens: int, priority: int) -> None:
        request = RemoteRequest(self.next_id, tokens, priority, accepted_ns=self.next_id)
        self.next_id += 1
        if self.limits.tokens_per_minute and tokens > self.limits.tokens_per_minute:
            with pytest.raises(PromptTooLongError):
                self.queue.add(request, self.now)
            return
        self.queue.add(request, self.now)
        self.waiting[request.id] = (priority, request.id)
        self.tokens[request.id] = tokens

    @rule(step=STEPS)
    def wait(self, step: int) -> None:
        self.now += step

    @rule()
    def wait_until_due(self) -> None:
        due = self.queue.next_due_ns()
        if due is not None and due > self.now:
            assert self.queue.take_ready(due - 1) == []  # I4, and nobody too early
            self.now = due

    @rule()
    def take(self) -> None:
        before = self.queue.next_due_ns()
        taken = self.queue.take_ready(self.now)
        assert not taken or (before is not None and before <= self.now)  # I4
        for request in [r for r, due in self.backing_off.items() if due <= self.now]:
            del self.backing_off[request]
        out = self.backing_off.keys() | self.open.keys()
        order = {r: place for r, place in self.waiting.items() if r not in out}
        assert taken == sorted(order, key=lambda r: order[r])[: len(taken)]
        for request in taken:
            self.open[request] = self.tokens[request]
            self.begun[request] = self.now
            self.starts.append(self.now)
        self.check_that_nobody_waits_in_vain([r for r in order if r not in self.open])

    def check_that_nobody_waits_in_vain(self, waiting: list[int]) -> None:
        if not waiting or self.now < self.closed_until:
            return
        first = min(waiting, key=lambda request: self.waiting[request])
        requests, tokens = self.counted(self.now - self.slack)
        limits = self.limits
        assert (
            len(self.open) >= limits.concurrency
            or (limits.requests_per_minute and requests + 1 > limits.requests_per_minute)
            or (limits.tokens_per_minute and tokens + self.tokens[first] > limits.tokens_per_minute)
        )

    def counted(self, now: int) -> tuple[int, int]:
        """What an endpoint that books as late as it can has counted in the last minute."""
        requests = sum(1 for start in self.starts if start > now - WINDOW_NS)
        ended = sum(tokens for _, end, tokens in self.spent if end > now - WINDOW_NS)
        return requests, ended + sum(self.open.values())

    @precondition(lambda self: self.open)
    @rule(data=st.data(), share=st.one_of(st.none(), st.floats(0, 1)))
    def settle(self, data: st.DataObject, share: float | None) -> None:
        request = data.draw(st.sampled_from(sorted(self.open)))
        used = None if share is None else int(self.tokens[request] * share)
        self.queue.settle(request, used, self.now)
        self.end(request, self.tokens[request] if used is None else used)
        del self.waiting[request]

    @precondition(lambda self: self.open)
    @rule(data=st.data(), after=st.one_of(st.none(), st.integers(0, 100 * SECOND)))
    def refuse(self, data: st.DataObject, after: int | None) -> None:
        request = data.draw(st.sampled_from(sorted(self.open)))
        attempt = self.attempts[request] = self.attempts.get(request, 0) + 1
        again = self.queue.retry_later(request, self.now, after, attempt)
        assert again == (attempt < 3)
        self.end(request, 0)
        if not again:
            del self.waiting[request]
            return
        due = self.now + Backoff(max_attempts=3).delay_ns(request, attempt)
        if after is not None:
            due = self.now + min(after, Backoff().max_ns)
            self.closed_until = max(self.closed_until, due)
        self.backing_off[request] = due

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        request = data.draw(st.sampled_from(sorted(self.waiting)))
        assert self.queue.cancel(request, self.now) == (request in self.open)
        if request in self.open:
            self.end(request, self.tokens[request])
        self.backing_off.pop(request, None)
        del self.waiting[request]

    @rule(pause=STEPS)
    def lose_the_kernel(self, pause: int) -> None:
        """Its calls go on until an engine of the next one is ready; then they are in doubt."""
        row = self.queue.book.to_row(0)
        self.now += pause
        for request in list(self.open):
            del self.waiting[request]
            self.end(request, self.tokens[request])
        self.queue = RemoteQueue(self.limits, backoff=Backoff(max_attempts=3))
        if row is not None:
            self.queue.book.restore(row, 0, self.now)
        self.queue.book.end_left(self.now)
        for request, (priority, _) in self.waiting.items():
            again = RemoteRequest(request, self.tokens[request], priority, accepted_ns=request)
            self.queue.add(again, self.now)
        self.backing_off, self.attempts, self.closed_until = {}, {}, 0
        self.slack = SECOND

    def end(self, request: int, tokens: int) -> None:
        del self.open[request]
        self.spent.append((self.begun.pop(request), self.now, tokens))

    @invariant()
    def no_limit_is_exceeded(self) -> None:
        if not hasattr(self, "limits"):
            return
        requests, tokens = self.counted(self.now)
        assert len(self.open) <= self.limits.concurrency
        assert not self.limits.requests_per_minute or requests <= self.limits.requests_per_minute
        assert not self.limits.tokens_per_minute or tokens <= self.limits.tokens_per_minute

    @invariant()
    def everybody_is_somewhere(self) -> None:
        if hasattr(self, "limits"):
            assert len(self.queue.book) == len(self.open)
            assert len(self.queue) + len(self.open) == len(self.waiting)


QueueMachine.TestCase.settings = settings(
    max_examples=trials(60), stateful_step_count=40, deadline=None
)
TestQueueMachine = QueueMachine.TestCase
