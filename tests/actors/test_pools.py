"""Pools of agents as users see them: the real core in memory, real agents, a virtual clock."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from actors import (
    BadSpecError,
    PartialFailureError,
    RemoteError,
    UnknownActorError,
    UsageError,
)
from actors.reference import Options
from actors.testing import TestKernel
from ipc.errors import UnknownPolicyError
from tests.actors.pooled import Boss, Worker


def test_a_pool_is_asked_and_told_like_one_actor() -> None:
    with TestKernel() as kernel:
        pool = kernel.spawn_pool(Worker, "ok", name="crew", minimum=3)

        answers = [kernel.ask(pool.work(f"m{number}")) for number in range(6)]
        kernel.tell(pool.tell.work("told"))
        names = {kernel.ask(pool.who()) for _ in range(6)}

        assert answers == [f"ok m{number}" for number in range(6)]
        assert names == {"crew.1", "crew.2", "crew.3"}
        assert kernel.ask(kernel.lookup("crew").work("found")) == "ok found"


def test_a_pool_survives_in_state_and_in_messages() -> None:
    with TestKernel() as kernel:
        boss = kernel.spawn(Boss)
        assert kernel.ask(boss.hire(2)) == "hired first"

        kernel.restart_kernel()
        kernel.crash(boss)
        crew = kernel.ask(boss.crew())

        assert kernel.ask(crew.work("again")) == "hired again"
        assert kernel.ask(boss.all_of(["a", "b", "c"])) == ["hired a", "hired b", "hired c"]


def test_a_scatter_gives_answers_in_the_order_of_the_items_and_tells_what_failed() -> None:
    with TestKernel() as kernel:
        pool = kernel.spawn_pool(Worker, name="crew", minimum=3)

        gathered = kernel.run(_awaited(pool.scatter.work(["a", "bad", "c", "bad", "e"])))

        assert gathered.answers == ["done a", None, "done c", None, "done e"]
        assert list(gathered.errors) == [1, 3]
        assert isinstance(gathered.errors[1], RemoteError)
        assert [index for index, _ in gathered.succeeded()] == [0, 2, 4]
        assert not gathered.is_complete
        with pytest.raises(PartialFailureError, match="2 of 5 asks failed; the first, of item 1"):
            gathered.all()


def test_a_gather_gives_the_answers_or_raises() -> None:
    with TestKernel() as kernel:
        pool = kernel.spawn_pool(Worker, name="crew", minimum=2)

        assert kernel.run(_awaited(pool.gather.work(["a", "b"]))) == ["done a", "done b"]
        assert kernel.run(_awaited(pool.gather.work([]))) == []
        with pytest.raises(PartialFailureError) as caught:
            kernel.run(_awaited(pool.gather.work(["a", "bad"])))

        assert (caught.value.failed, caught.value.total) == (1, 2)


def test_a_scatter_has_at_most_its_window_outstanding_and_reads_no_further_ahead() -> None:
    with TestKernel() as kernel:
        pool = kernel.spawn_pool(Worker, name="crew", minimum=4, maximum=4)
        outstanding = []

        def items() -> Iterator[str]:
            for number in range(12):
                outstanding.append(len(kernel.core.state.pools[pool.id].jobs))
                yield f"m{number}"

        kernel.run(_awaited(pool.scatter(window=3).work(items(), delay_s=1.0)))

        assert len(outstanding) == 12
        assert max(outstanding) <= 2  # with the one that is read just then: three
        assert kernel.clock.monotonic_ns() >= 4e9  # 12 items of a second, three at a time


def test_a_window_below_one_is_refused() -> None:
    with TestKernel() as kernel:
        pool = kernel.spawn_pool(Worker, minimum=1)

        with pytest.raises(UsageError, match="window"):
            kernel.run(_awaited(pool.scatter(window=0).work(["a"])))


def test_a_crash_in_the_middle_of_a_scatter_repeats_nothing_that_was_answered() -> None:
    with TestKernel() as kernel:
        boss = kernel.spawn(Boss)
        kernel.ask(boss.hire(2))
        texts = [f"s{number}" for number in range(6)]
        call = kernel.loop.create_task(_awaited(boss.slowly(texts)))
        kernel.advance(1.5)  # two are answered, two under way, two not sent

        kernel.crash(boss)
        kernel.advance(10)

        assert call.result() == [f"hired {text}" for text in texts]
        seen = [text for name in ("crew.1", "crew.2") for text in _seen(kernel, name)]
        assert sorted(seen) == ["first", *texts]


def test_members_ask_their_pool_without_waiting_for_themselves() -> None:
    with TestKernel() as kernel:
        pool = kernel.spawn_pool(Worker, name="crew", minimum=5, maximum=5)

        assert kernel.ask(pool.halve(list(range(32)), pool)) == sum(range(32))


def test_a_killed_members_work_is_done_by_the_others() -> None:
    with TestKernel() as kernel:
        pool = kernel.spawn_pool(Worker, name="crew", minimum=2, maximum=2)
        scatter = pool.gather.work([f"m{number}" for number in range(8)], delay_s=1.0)
        call = kernel.loop.create_task(_awaited(scatter))
        kernel.advance(1.5)

        kernel.system("kill", actor="crew.1")
        kernel.advance(30)

        assert call.result() == [f"done m{number}" for number in range(8)]
        assert kernel.system("pool", pool="crew")["taken_over"] >= 1


def test_affinity_keeps_messages_together() -> None:
    with TestKernel() as kernel:
        pool = kernel.spawn_pool(Worker, name="crew", minimum=3, maximum=3)
        sticky = pool.options(affinity="customer 7")
        calls = [
            kernel.loop.create_task(_awaited(sticky.work(f"k{number}", delay_s=1.0)))
            for number in range(5)
        ]
        kernel.advance(20)

        assert all(call.done() for call in calls)
        (together,) = [name for name in ("crew.1", "crew.2", "crew.3") if _seen(kernel, name)]
        assert _seen(kernel, together) == [f"k{number}" for number in range(5)]


def test_a_pool_grows_and_shrinks_with_its_load() -> None:
    with TestKernel() as kernel:
        pool = kernel.spawn_pool(Worker, name="crew", minimum=1, maximum=4, shrink_after_s=2)
        calls = kernel.loop.create_task(
            _awaited(pool.gather.work([f"m{number}" for number in range(40)], delay_s=1.0))
        )
        kernel.advance(6)
        grown = kernel.system("pool", pool="crew")["running"]
        kernel.advance(60)

        assert grown == 4
        assert len(calls.result()) == 40
        assert kernel.system("pool", pool="crew")["members"] == 1


def test_options_of_spawn_are_each_members() -> None:
    with TestKernel() as kernel:
        kernel.spawn_pool(Worker, name="crew", minimum=2, weight=3.0, max_attempts=7)

        members = [kernel.core.state.actors[kernel.lookup(f"crew.{n}").id] for n in (1, 2)]

        assert [(member.spec["weight"], member.spec["max_attempts"]) for member in members] == [
            (3.0, 7),
            (3.0, 7),
        ]


def test_a_hint_is_a_text_and_not_empty() -> None:
    with TestKernel() as kernel:
        pool = kernel.spawn_pool(Worker, minimum=1)

        for hint in ("", "x" * 256, 7):
            with pytest.raises(UsageError, match="affinity"):
                pool.options(affinity=hint)  # type: ignore[arg-type]
        assert pool.options(priority=1)._options == Options(priority=1)


def test_hints_do_no_harm_to_an_actor_that_is_no_pool() -> None:
    with TestKernel() as kernel:
        worker = kernel.spawn(Worker)

        assert kernel.ask(worker.options(affinity="x", skill="y").work("a")) == "done a"
        assert kernel.run(_awaited(worker.gather.work(["a", "b"]))) == ["done a", "done b"]


def test_what_cannot_be_a_pool_is_refused() -> None:
    with TestKernel() as kernel:
        with pytest.raises(BadSpecError):
            kernel.spawn_pool("no.such.module:Class", name="crew")
        with pytest.raises(UnknownPolicyError, match="p2c"):
            kernel.spawn_pool(Worker, balance="fastest")
        with pytest.raises(UsageError, match="restart"):
            kernel.spawn_pool(Worker, restart="temporary")
        with pytest.raises(UnknownActorError):
            kernel.lookup("crew")


def _seen(kernel: TestKernel, name: str) -> list[str]:
    values = kernel.state(kernel.lookup(name))
    return list(values.get("seen", []))


async def _awaited(call: object) -> object:
    return await call  # type: ignore[misc]
