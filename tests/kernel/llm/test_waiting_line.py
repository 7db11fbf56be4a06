"""The line of those who wait, against a sorted list."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kernel.llm.owners import OwnerAccount
from kernel.llm.request import Request
from kernel.llm.task import Task
from kernel.llm.waiting_line import WaitingLine

OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["add", "take", "return", "remove", "key"]),
        st.integers(0, 30),
        st.integers(0, 3),
    )
)


def new_task(order: int, key: int) -> Task:
    request = Request(order, 1, [1], sampling={"max_tokens": 1, "seed": 1})
    task = Task(request, OwnerAccount(1, 1), order, order)
    task.key = float(key)
    return task


@given(OPERATIONS)
def test_they_leave_by_key_then_by_arrival_however_often_they_come_back(
    operations: list[tuple[str, int, int]],
) -> None:
    line, waiting, away = WaitingLine(), list[Task](), list[Task]()
    for number, (what, choice, key) in enumerate(operations):
        if what == "add":
            task = new_task(number, key)
            line.add(task)
            waiting.append(task)
        elif what == "return" and away:
            task = away.pop(choice % len(away))
            task.key = float(key)
            line.put_back(task)
            waiting.append(task)
        elif waiting and what != "return":
            task = waiting[choice % len(waiting)] if what != "take" else line.head()
            assert task is not None
            if what == "key":
                line.set_key(task, float(key))
            else:
                line.remove(task)
                waiting.remove(task)
                away.append(task)
        waiting.sort(key=lambda task: task.rank)
        assert line.head() is (waiting[0] if waiting else None)
        assert line.first(4) == waiting[:4]
        assert len(line) == len(waiting)
