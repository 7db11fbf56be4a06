"""What a completion shows, and how its structure is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel

from actors.bodies import from_stored, to_stored
from actors.llm.completion import ToolCall, read_completion
from actors.llm.structure import read_structure
from ipc.errors import BadGrammarError, SchemaError, UsageError
from tests.actors.llm.wire import completion


class Ticket(BaseModel):
    team: str
    urgent: bool = False


@dataclass
class Point:
    x: int


def test_a_completion_is_its_text_with_all_that_was_told() -> None:
    calls = [{"id": "c1", "name": "weather", "arguments": {"city": "Rome"}}]
    logprobs = [{"id": 7, "logprob": -0.5, "top": [[7, -0.5], [9, -1.5]]}]

    result = read_completion(completion("hi", tool_calls=calls, logprobs=logprobs), None)  # type: ignore[arg-type]

    assert str(result) == result.text == "hi"
    assert result.ids == [7, 8]
    assert result.tool_calls == [ToolCall("c1", "weather", {"city": "Rome"})]
    assert result.logprobs is not None
    assert result.logprobs[0].top == [(7, -0.5), (9, -1.5)]
    usage = result.usage
    assert (usage.waiting_s, usage.prefill_s, usage.decode_s) == (0.5, 0.25, 1.0)
    assert (usage.total_tokens, usage.first_token_s, usage.total_s) == (14, 0.75, 1.75)
    assert (usage.model, usage.version, usage.cached_tokens) == ("small", 3, 4)


def test_a_completion_can_be_kept_in_an_agents_state() -> None:
    result = read_completion(completion(), None)  # type: ignore[arg-type]

    kept = from_stored(to_stored(result), lambda _: None, "answer")  # type: ignore[arg-type, return-value]

    assert kept["text"] == "billing"
    assert kept["usage"]["model"] == "small"


@pytest.mark.parametrize(
    ("schema", "text", "parsed"),
    [
        (Ticket, '{"team": "billing"}', Ticket(team="billing")),
        (Point, '{"x": 3}', Point(3)),
        (list[int], "[1, 2]", [1, 2]),
        ({"type": "object"}, '{"any": [1]}', {"any": [1]}),
    ],
)
def test_the_text_is_read_as_the_schema_asked_for(schema: Any, text: str, parsed: Any) -> None:
    structure = read_structure(schema)

    result = read_completion(completion(text), structure)  # type: ignore[arg-type]

    assert result.parsed == parsed


class Open(BaseModel, extra="allow"):
    team: str


class Tree(BaseModel):
    properties: list[Tree] = []  # a field with the name of a word of JSON schema
    point: Point | None = None


def test_the_model_may_add_no_field_to_a_type_unless_the_type_allows_it() -> None:
    def objects_of(wanted: Any) -> list[Any]:
        structure = read_structure(wanted)
        assert structure is not None
        parts = [structure.schema, *structure.schema.get("$defs", {}).values()]
        return [part["additionalProperties"] for part in parts if "properties" in part]

    assert objects_of(Ticket) == objects_of(Point) == [False]
    assert objects_of(Open) == [True]
    assert objects_of(Tree) == [False, False]
    assert read_structure({"properties": {}}).schema == {"properties": {}}  # type: ignore[union-attr]


def test_a_text_that_was_cut_short_says_so_when_it_is_read() -> None:
    cut = completion('{"team": "bil', finish_reason="length")

    result = read_completion(cut, read_structure(Ticket))  # type: ignore[arg-type]

    assert result.text == '{"team": "bil'
    with pytest.raises(SchemaError, match="finish_reason: length"):
        _ = result.parsed


def test_without_a_schema_nothing_is_parsed() -> None:
    result = read_completion(completion(), None)  # type: ignore[arg-type]

    with pytest.raises(UsageError, match="schema"):
        _ = result.parsed


@pytest.mark.parametrize("schema", ["Ticket", 3, object(), [Ticket]])
def test_what_is_no_schema_is_refused(schema: Any) -> None:
    with pytest.raises(BadGrammarError):
        read_structure(schema)


def test_a_tool_call_and_its_answer_go_into_the_conversation() -> None:
    calls = [{"id": "c1", "name": "weather", "arguments": {"city": "Rome"}}]
    result = read_completion(completion("", tool_calls=calls), None)  # type: ignore[arg-type]

    assert result.message["tool_calls"][0]["function"] == {
        "name": "weather",
        "arguments": '{"city": "Rome"}',
    }
    assert result.tool_calls[0].answer({"sky": "blue"}) == {
        "role": "tool",
        "tool_call_id": "c1",
        "name": "weather",
        "content": '{"sky": "blue"}',
    }
