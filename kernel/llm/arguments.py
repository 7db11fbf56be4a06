"""Arguments of the LLM system calls, checked before anything is queued.

What only an engine can check (a template, a grammar, the length in tokens) is checked there.

Cost: about 30 us a request. Pure.
"""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from ipc.endpoint_url import problem_of_url, without_secrets
from ipc.errors import (
    BadModelError,
    BadPromptError,
    LLMOSError,
    SamplingError,
    UnknownCallError,
)
from ipc.llm import LlmInput, LlmRequest, ModelSpec, Sampling

DEFAULT_MAX_TOKENS = 256
MAX_TOKENS = 1 << 24
MAX_LOGPROBS = 20
MAX_STOPS = 64
MAX_ENGINES = 64  # of a version; the first request starts them all

T = TypeVar("T")

_INPUT = TypeAdapter(LlmInput)
_REQUEST = TypeAdapter(LlmRequest)
_SPEC = TypeAdapter(ModelSpec)

# option: (least, most, whether the bounds themselves are allowed)
_RANGES: dict[str, tuple[float, float, bool, bool]] = {
    "max_tokens": (1, MAX_TOKENS, True, True),
    "temperature": (0, 100, True, True),
    "top_k": (0, MAX_TOKENS, True, True),
    "top_p": (0, 1, False, True),
    "min_p": (0, 1, True, False),
    "repetition_penalty": (0, 100, False, True),
    "seed": (0, (1 << 63) - 1, True, True),
    "logprobs": (0, MAX_LOGPROBS, True, True),
}

# What only one kind of model has; an engine of one's own may have any.
_OPTIONS_OF = {
    "path": {
        "dtype",
        "device",
        "threads",
        "block_size",
        "kv_bytes",
        "host_kv_bytes",
        "max_running",
        "max_step_tokens",
    },
    "endpoint": {
        "remote_model",
        "key_env",
        "key_file",
        "concurrency",
        "requests_per_minute",
        "tokens_per_minute",
        "timeout_s",
    },
}


def read_request(value: Any) -> LlmRequest:
    """Return the arguments of ``llm_generate``, with complete sampling but for the seed.

    Raises:
        BadPromptError, SamplingError, UnknownCallError: nothing was queued.
    """
    request = _read(_REQUEST, value, "llm_generate")
    if "input" in request:
        check_input(request["input"])
    elif "session" not in request:
        raise BadPromptError(problem="say what to continue: a prompt, messages, ids or a session")
    request["sampling"] = complete_sampling(request.get("sampling", Sampling()))
    return request


def read_input(value: Any) -> LlmInput:
    """Return the input of ``llm_count`` and ``llm_append``. Raises as ``read_request``."""
    found = _read(_INPUT, value, "input")
    check_input(found)
    return found


def check_input(given: LlmInput) -> None:
    """Raise BadPromptError for an input that says nothing, or two things."""
    said = [key for key in ("prompt", "ids", "messages") if key in given]
    if len(said) != 1:
        problem = f"give one of prompt, ids and messages, not {' and '.join(said) or 'none'}"
        raise BadPromptError(problem=problem)
    if not given.get(said[0]):
        raise BadPromptError(problem=f"{said[0]}: there is nothing in it")
    if "tools" in given and "messages" not in given:
        raise BadPromptError(problem="tools go with messages")
    if len(given.get("ids", b"")) % 4:
        raise BadPromptError(problem="ids are little-endian int32 values")
    for message in given.get("messages", ()):
        if not isinstance(message.get("role"), str):
            raise BadPromptError(problem="each message has a role")


def complete_sampling(given: Sampling) -> Sampling:
    """Return the options with the defaults filled in. Raises SamplingError."""
    for option, (least, most, has_least, has_most) in _RANGES.items():
        value: Any = given.get(option)
        if value is None:
            continue
        is_low = value < least or (value == least and not has_least)
        if is_low or value > most or (value == most and not has_most) or value != value:
            left, right = "[" if has_least else "(", "]" if has_most else ")"
            problem = f"{value} is not in {left}{least}, {most}{right}"
            raise SamplingError(option=option, problem=problem)
    if "schema" in given and "regex" in given:
        raise SamplingError(option="regex", problem="give a schema or a regex, not both")
    stops = given.get("stop", [])
    if len(stops) > MAX_STOPS or any(not stop for stop in stops):
        raise SamplingError(option="stop", problem=f"at most {MAX_STOPS} strings, none empty")
    if given.get("ignore_stop_ids") and ("schema" in given or "regex" in given):
        raise SamplingError(option="ignore_stop_ids", problem="a grammar ends with a stop token")
    return {"max_tokens": DEFAULT_MAX_TOKENS, **given}


def read_model_spec(value: Any) -> ModelSpec:
    """Return the argument of ``model_add``.

    Raises:
        UnknownCallError: it is no ModelSpec.
        BadModelError: it contradicts itself, or has an option that this kind of model has not.
    """
    spec = _read(_SPEC, value, "model_add")
    problem = _problem_of(spec)
    if problem:
        places = (spec.get("path"), spec.get("endpoint"), spec.get("driver"))
        location = without_secrets(next(filter(None, places), "no place"))
        raise BadModelError(model=spec.get("name", ""), location=location, problem=problem)
    return spec


def _problem_of(spec: ModelSpec) -> str:
    name = spec.get("name", "")
    if not 0 < len(name) <= 64 or "@" in name or not name.isprintable() or " " in name:
        return "a model's name has 1 to 64 printable characters, without @ and spaces"
    places = [key for key in ("path", "endpoint", "driver") if spec.get(key)]
    if len(places) != 1:
        return "say where it is: one of path, endpoint and driver"
    if "endpoint" in spec and (problem := problem_of_url(spec["endpoint"])):
        return problem
    for kind, options in _OPTIONS_OF.items():
        idle = [option for option in spec if option in options]
        if idle and places[0] not in (kind, "driver"):
            return f"{idle[0]} is of a model with {kind}, and has no effect here"
    if spec.get("key_env") and spec.get("key_file"):
        return "the key is in key_env or in key_file, not in both"
    for key, value in spec.items():
        if isinstance(value, (int, float)) and not 0 <= value < 1 << 50:
            return f"{key} is out of range: {value}"
    for key in ("engines", "block_size", "max_running", "max_step_tokens", "concurrency"):
        if spec.get(key, 1) == 0:
            return f"{key} is at least 1"
    if spec.get("engines", 1) > MAX_ENGINES:
        return f"engines is at most {MAX_ENGINES}"
    return ""


def _read(adapter: TypeAdapter[T], value: Any, call: str) -> T:
    try:
        return adapter.validate_python(value, strict=True)
    except ValidationError as error:
        raise _explain(error, call) from None


def _explain(error: ValidationError, call: str) -> LLMOSError:
    first = error.errors()[0]
    place = [str(part) for part in first["loc"]]
    if "sampling" in place and place[-1] != "sampling":
        return SamplingError(option=place[place.index("sampling") + 1], problem=first["msg"])
    return UnknownCallError(call=call, problem=f"{'.'.join(place)}: {first['msg']}")
