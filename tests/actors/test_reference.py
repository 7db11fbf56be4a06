"""References, calls and handler tables."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from actors import Actor, ActorRef, receive, subscribe
from actors.handlers import Style, handler_table
from actors.reference import PLAIN, Call
from ipc.errors import UsageError


class Recorder:
    """A port that returns what it was given."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def invoke(self, call: Call) -> Any:
        call.is_sent = True
        self.calls.append(call)
        return call


@pytest.fixture
def ref() -> ActorRef[Any]:
    return ActorRef(Recorder(), 7, name="bob")  # type: ignore[arg-type]


def test_a_method_makes_a_call(ref: ActorRef[Any]) -> None:
    call = ref.solve("x", n=1)

    assert (call.method, call.args, call.kwargs, call.verb) == ("solve", ("x",), {"n": 1}, "ask")
    assert call.options is PLAIN
    assert ref.tell.solve().verb == "tell"
    assert ref.stream.solve().verb == "stream"
    assert ref.api.solve().method == "solve"


def test_options_belong_to_a_copy(ref: ActorRef[Any]) -> None:
    urgent = ref.options(priority=0, deadline=2.5)

    call = urgent.tell.solve()

    assert (call.options.priority, call.options.deadline) == (0, 2.5)
    assert ref.solve().options is PLAIN
    assert (urgent, urgent.name) == (ref, "bob")


@pytest.mark.parametrize(
    "wrong",
    [
        {"priority": 8},
        {"priority": -1},
        {"priority": "0"},
        {"priority": 1.5},
        {"deadline": 0},
        {"deadline": 1e-30},  # no whole nanosecond: as 0 it would mean none
        {"deadline": 1e99},
        {"deadline": float("inf")},
        {"deadline": float("nan")},
        {"deadline": "5"},
        {"key": 5},
    ],
)
def test_options_out_of_range_are_refused(ref: ActorRef[Any], wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        ref.options(**wrong)


def test_references_compare_by_id(ref: ActorRef[Any]) -> None:
    same: ActorRef[Any] = ActorRef(Recorder(), 7)  # type: ignore[arg-type]

    assert ref == same
    assert len({ref, same}) == 1
    assert ref != ActorRef(Recorder(), 8)  # type: ignore[arg-type]


def test_references_cannot_be_pickled(ref: ActorRef[Any]) -> None:
    with pytest.raises(UsageError):
        pickle.dumps(ref)


def test_private_names_are_no_handlers(ref: ActorRef[Any]) -> None:
    with pytest.raises(AttributeError):
        ref._secret  # noqa: B018
    with pytest.raises(AttributeError):
        ref.tell._secret  # noqa: B018


def test_a_call_that_is_never_sent_warns(ref: ActorRef[Any]) -> None:
    call = Call(ref, "solve", (), {})

    with pytest.warns(RuntimeWarning, match="never awaited"):
        del call


def test_a_handler_table_knows_names_styles_and_topics() -> None:
    class Base(Actor):
        @receive
        async def one(self) -> None: ...

    class Derived(Base):
        @receive
        def two(self, n: int = 1) -> int:
            return n

        @receive(name="three")
        async def items(self) -> Any:
            yield 1

        @subscribe("news", overflow="dead_letter")
        async def news(self, text: str) -> None: ...

        async def no_handler(self) -> None: ...

    table = handler_table(Derived)

    assert {name: handler.style for name, handler in table.items()} == {
        "one": Style.COROUTINE,
        "two": Style.THREAD,
        "three": Style.STREAM,
        "news": Style.COROUTINE,
    }
    assert table["news"].topic == ("news", "dead_letter")
    assert table["two"].describe() == "def two(n: 'int' = 1) -> 'int'"
    # `llmos chat` reads there how to call it.
    assert table["three"].describe() == "async def three() -> AsyncIterator"


def test_names_of_the_reference_itself_cannot_be_handlers() -> None:
    class Bad(Actor):
        @receive
        async def tell(self) -> None: ...

    with pytest.raises(UsageError, match="cannot be called 'tell'"):
        handler_table(Bad)


def test_a_generator_must_be_async() -> None:
    class Bad(Actor):
        @receive
        def items(self) -> Any:
            yield 1

    with pytest.raises(UsageError, match="async def"):
        handler_table(Bad)
