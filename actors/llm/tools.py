"""Tools that a model may call: plain functions with type hints, or declarations as they are.

A declaration has the function's name, the first paragraph of its docstring and a JSON schema of
its parameters; ``Annotated[int, Field(description=...)]`` describes a parameter. The model's
calls come back as ``completion.tool_calls``; nothing is called here.

Cost: about 1 ms for a function, once.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from ipc.errors import SchemaError

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def declare(tool: Callable[..., Any] | Mapping[str, Any]) -> dict[str, Any]:
    """Return the declaration of a tool, in OpenAI's form.

    Raises:
        SchemaError: it is no function that a model could call.
    """
    if isinstance(tool, Mapping):
        return _check_declaration(tool)
    if not callable(tool):
        problem = "a tool is a function, or the declaration of one"
        raise SchemaError(where=repr(tool)[:80], problem=problem)
    return _declare_function(tool)


def _check_declaration(tool: Mapping[str, Any]) -> dict[str, Any]:
    function = tool.get("function")
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        problem = 'a declaration is {"type": "function", "function": {"name": ..., ...}}'
        raise SchemaError(where="a tool", problem=problem)
    return {"type": "function", **tool}


@lru_cache(maxsize=256)
def _declare_function(function: Callable[..., Any]) -> dict[str, Any]:
    name = getattr(function, "__name__", type(function).__name__)
    about = inspect.getdoc(function) or ""
    return {
        "type": "function",
        "function": {
            "name": name,
            "description": " ".join(about.split("\n\n")[0].split()),
            "parameters": _parameters(function, f"tool {name}"),
        },
    }


def _parameters(function: Callable[..., Any], where: str) -> dict[str, Any]:
    # Imported here: pydantic costs memory and time, and most agents declare no tools.
    from pydantic import ConfigDict, PydanticUserError, create_model

    fields: dict[str, Any] = {}
    try:
        hints = typing.get_type_hints(function, include_extras=True)
        for parameter in inspect.signature(function).parameters.values():
            fields[parameter.name] = _field(parameter, hints, where)
        model = create_model("Parameters", __config__=ConfigDict(extra="forbid"), **fields)
        schema: dict[str, Any] = model.model_json_schema()
    except (NameError, TypeError, ValueError, PydanticUserError) as error:
        raise SchemaError(where=where, problem=f"cannot be declared: {error}") from None
    schema.pop("title", None)
    for described in schema["properties"].values():
        described.pop("title", None)
    return schema


def _field(parameter: inspect.Parameter, hints: Mapping[str, Any], where: str) -> tuple[Any, Any]:
    if parameter.kind not in _NAMED:
        problem = f"a model cannot give {parameter}: parameters of tools have names"
        raise SchemaError(where=where, problem=problem)
    if parameter.name not in hints:
        raise SchemaError(where=where, problem=f"the parameter {parameter.name!r} has no type hint")
    is_needed = parameter.default is parameter.empty
    return hints[parameter.name], ... if is_needed else parameter.default
