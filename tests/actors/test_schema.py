"""Arguments and results against type hints."""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
import pytest
from pydantic import BaseModel

from actors.reference import ActorRef
from actors.schema import Signature, to_plain
from ipc.errors import SchemaError


@dataclass
class Point:
    x: int
    y: int


@dataclass(frozen=True)
class Fixed:
    x: int


class Order(BaseModel):
    number: int
    points: list[Point] = []


class Box(TypedDict):
    width: int


class Color(enum.Enum):
    RED = "red"


def bind(function: Any, *args: Any, **kwargs: Any) -> tuple[list[Any], dict[str, Any]]:
    args_, kwargs_ = Signature(function, "Actor.handler").bind(list(args), kwargs)
    return list(args_), dict(kwargs_)


async def scalars(self: Any, a: int, b: float, c: str, d: bool, e: bytes) -> None: ...
async def defaults(self: Any, a: int, b: str = "x", *, c: float = 1.0) -> None: ...
async def structures(self: Any, p: Point, o: Order, b: Box, c: Color) -> None: ...
async def boxes(self: Any, boxes: dict[str, list[Box] | None]) -> None: ...
async def loose(self: Any, a: Any, b, *rest: int, **more: str) -> None: ...  # type: ignore[no-untyped-def]
async def nested(self: Any, points: list[Point], maybe: int | None = None) -> None: ...
async def refs(self: Any, ref: ActorRef[Point], array: np.ndarray) -> None: ...  # type: ignore[type-arg]
async def gives_point(self: Any) -> Point: ...  # type: ignore[empty-body]
async def gives_items(self: Any) -> AsyncIterator[int]: ...  # type: ignore[empty-body]
async def unresolvable(self: Any, a: Missing, b: int) -> None: ...  # type: ignore[name-defined] # noqa: F821


def test_fitting_scalars_pass_as_they_are() -> None:
    assert bind(scalars, 1, 2.0, "s", True, b"b") == ([1, 2.0, "s", True, b"b"], {})


def test_an_int_passes_for_a_float_and_becomes_one() -> None:
    args, _ = bind(scalars, 1, 2, "s", True, b"b")

    assert type(args[1]) is float


@pytest.mark.parametrize(
    ("position", "value"), [(0, "1"), (0, True), (1, "2.0"), (2, 5), (3, 1), (4, "b")]
)
def test_scalars_are_not_converted(position: int, value: Any) -> None:
    args: list[Any] = [1, 2.0, "s", True, b"b"]
    args[position] = value

    with pytest.raises(SchemaError, match=f"Actor.handler, argument '{'abcde'[position]}'"):
        bind(scalars, *args)


def test_defaults_keywords_and_positions_mix() -> None:
    assert bind(defaults, 1) == ([1], {})
    assert bind(defaults, a=1, b="y") == ([1, "y"], {})
    assert bind(defaults, 1, c=2) == ([1], {"c": 2.0})


@pytest.mark.parametrize(
    ("args", "kwargs", "problem"),
    [
        ((), {}, "missing a required argument: 'a'"),
        ((1, "x", 3), {}, "too many positional arguments"),
        ((1,), {"z": 1}, "unexpected keyword argument 'z'"),
        ((1,), {"a": 1}, "multiple values for argument 'a'"),
    ],
)
def test_a_wrong_call_says_what_is_wrong(args: Any, kwargs: Any, problem: str) -> None:
    with pytest.raises(SchemaError) as caught:
        bind(defaults, *args, **kwargs)

    assert problem in caught.value.problem


def test_structures_are_rebuilt_from_what_they_travel_as() -> None:
    point, order, box = {"x": 1, "y": 2}, {"number": 1, "points": [{"x": 1, "y": 2}]}, {"width": 3}

    args, _ = bind(structures, point, order, box, "red")

    expected = [Point(1, 2), Order(number=1, points=[Point(1, 2)]), {"width": 3}, Color.RED]
    assert args == expected
    assert [to_plain(arg) for arg in args] == [point, order, box, "red"]


def test_enums_in_sets_become_their_values_and_points_stay_to_be_refused() -> None:
    assert to_plain({Color.RED}) == {"red"}
    assert to_plain(frozenset([Color.RED])) == frozenset(["red"])
    assert to_plain({Fixed(1)}) == {Fixed(1)}


def test_an_inner_mistake_is_located() -> None:
    with pytest.raises(SchemaError) as caught:
        bind(nested, [{"x": 1, "y": 2}, {"x": 1}])

    assert caught.value.where == "Actor.handler, argument 'points'"
    assert caught.value.problem.startswith("1.y: ")


def test_what_has_no_hint_is_not_checked_and_variadics_are() -> None:
    assert bind(loose, object, None, 1, 2, k="v")[0][2:] == [1, 2]
    with pytest.raises(SchemaError):
        bind(loose, 1, 2, "three")
    with pytest.raises(SchemaError):
        bind(loose, 1, 2, k=5)


def test_references_and_arrays_pass_and_others_do_not() -> None:
    ref: ActorRef[Any] = ActorRef(None, 7)  # type: ignore[arg-type]

    assert bind(refs, ref, np.zeros(3))[0][0] is ref
    with pytest.raises(SchemaError):
        bind(refs, 7, np.zeros(3))


def test_results_and_items_are_checked() -> None:
    signature = Signature(gives_point, "Actor.handler")

    assert signature.result({"x": 1, "y": 2}) == Point(1, 2)
    with pytest.raises(SchemaError, match="result"):
        signature.result(5)
    assert Signature(gives_items, "Actor.handler").result(5) == 5


def test_a_hint_that_cannot_be_resolved_leaves_the_others_standing() -> None:
    assert bind(unresolvable, "anything", 1)[0] == ["anything", 1]
    with pytest.raises(SchemaError):
        bind(unresolvable, "anything", "1")


def test_typed_dicts_are_checked_inside_other_hints() -> None:
    assert bind(boxes, {"a": [{"width": 1}], "b": None})[0] == [{"a": [{"width": 1}], "b": None}]
    with pytest.raises(SchemaError, match="width"):
        bind(boxes, {"a": [{"width": "wide"}]})


def test_what_has_a_hint_after_one_without_is_checked_when_it_is_given() -> None:
    async def handler(self: Any, first: int, loose: Any = None, last: str = "") -> None: ...

    assert bind(handler, 1) == ([1], {})
    assert bind(handler, 1, object) == ([1, object], {})
    with pytest.raises(SchemaError, match="last"):
        bind(handler, 1, None, 2)
