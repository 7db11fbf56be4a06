"""Prompts, messages and tools, from what people write to what travels."""

from __future__ import annotations

from array import array
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from actors.llm.inputs import chat_input, read_input, read_messages, read_prompt
from actors.llm.tools import declare
from ipc.errors import BadPromptError, SchemaError


def weather(
    city: Annotated[str, Field(description="its English name")],
    unit: Literal["C", "F"] = "C",
    days: int | None = None,
) -> str:
    """Tell the weather
    of a city.

    Not for the model.
    """
    return f"{city} {unit} {days}"


def test_a_prompt_is_text_or_token_ids() -> None:
    assert read_prompt("hello") == {"prompt": "hello"}
    assert read_prompt([1, 2]) == {"ids": array("i", [1, 2]).tobytes()}


@pytest.mark.parametrize("prompt", ["", [], 3, None, [1.5], ["a"], [1 << 40], b"text", "\udcff"])
def test_a_prompt_that_says_nothing_or_is_none_is_refused(prompt: Any) -> None:
    with pytest.raises(BadPromptError):
        read_prompt(prompt)
    with pytest.raises(BadPromptError):
        read_input(prompt)


def test_a_text_is_one_message_of_the_users() -> None:
    assert read_messages("hi") == [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize("messages", ["", [], ["hi"], [{"content": "no role"}], 3])
def test_messages_have_roles(messages: Any) -> None:
    with pytest.raises(BadPromptError):
        read_messages(messages)


def test_an_input_is_raw_or_a_chat_by_what_it_is() -> None:
    message = {"role": "user", "content": "hi"}

    assert read_input("hi") == {"prompt": "hi"}
    assert read_input([3]) == {"ids": array("i", [3]).tobytes()}
    assert read_input([message]) == {"messages": [message]}
    assert read_input("hi", [weather])["messages"] == [message]


@pytest.mark.parametrize("tools", [weather, 5, "weather"])
def test_tools_that_are_no_list_are_refused(tools: Any) -> None:
    with pytest.raises(SchemaError, match="list"):
        chat_input(read_messages("Rain?"), tools)


def test_a_function_with_hints_becomes_a_declaration() -> None:
    given = chat_input(read_messages("Rain?"), [weather])
    (tool,) = given["tools"]

    assert tool["type"] == "function"
    assert tool["function"]["name"] == "weather"
    assert tool["function"]["description"] == "Tell the weather of a city."
    parameters = tool["function"]["parameters"]
    assert parameters["required"] == ["city"]
    assert parameters["additionalProperties"] is False
    assert parameters["properties"]["city"] == {"type": "string", "description": "its English name"}
    assert parameters["properties"]["unit"]["enum"] == ["C", "F"]


def test_a_declaration_travels_as_it_is() -> None:
    given = {"type": "function", "function": {"name": "f", "parameters": {}}}

    assert declare(given) == given


@pytest.mark.parametrize(
    "tool",
    [
        lambda untyped: untyped,
        lambda *many: many,
        {"name": "not below function"},
        "weather",
    ],
)
def test_what_a_model_could_not_call_is_refused(tool: Any) -> None:
    with pytest.raises(SchemaError):
        declare(tool)
