"""Sampling options in the words of the HTTP API; what it has no word for is refused by name.

An option that is there but changes nothing (``top_k=0``) is no obstacle. Ranges that differ
between endpoints (how hot a temperature may be) are the endpoint's to judge.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, Literal, get_type_hints

from actors.remote_engine.answer import DEFAULT_MAX_TOKENS
from ipc.errors import SamplingError
from ipc.llm import Sampling

Api = Literal["chat", "text"]
MAX_ALTERNATIVES: Final[dict[Api, int]] = {"chat": 20, "text": 5}
MAX_SEED: Final = (1 << 63) - 1

_NEUTRAL: Final[dict[str, tuple[Any, ...]]] = {
    "top_k": (0,),
    "min_p": (0,),
    "repetition_penalty": (1,),
    "stop_ids": ([], ()),
    "ignore_stop_ids": (False,),
    "regex": (None,),
}
_KNOWN: Final = frozenset(get_type_hints(Sampling))


def translate(sampling: Sampling, api: Api) -> dict[str, Any]:
    """Return the fields of a request's body.

    Raises:
        SamplingError: an option cannot be said, is not known, or is out of range.
    """
    _refuse_unsayable(sampling)
    fields: dict[str, Any] = {
        "max_tokens": _checked(sampling, "max_tokens", DEFAULT_MAX_TOKENS, _is_positive),
        "temperature": _checked(sampling, "temperature", 0, _is_not_negative),
    }
    if "top_p" in sampling:
        fields["top_p"] = _checked(sampling, "top_p", 1, _is_share)
    if sampling.get("stop"):
        fields["stop"] = _checked(sampling, "stop", [], _are_texts)
    if "seed" in sampling:
        # The kernel draws 64 bits; endpoints take a signed number.
        fields["seed"] = _checked(sampling, "seed", 0, _is_whole) & MAX_SEED
    if "logprobs" in sampling:
        fields |= _logprobs(sampling, api)
    if sampling.get("schema") is not None:
        fields["response_format"] = _response_format(sampling["schema"], api)
    return fields


def _refuse_unsayable(sampling: Sampling) -> None:
    for option, value in sampling.items():
        if option not in _KNOWN:
            raise SamplingError(option=option, problem="there is no such option")
        if option in _NEUTRAL and value not in _NEUTRAL[option]:
            problem = "a remote model cannot be told this: the HTTP API has no field for it"
            raise SamplingError(option=option, problem=problem)


def _logprobs(sampling: Sampling, api: Api) -> dict[str, Any]:
    count = _checked(sampling, "logprobs", 0, _is_natural)
    if count > MAX_ALTERNATIVES[api]:
        problem = f"the {api} API gives at most {MAX_ALTERNATIVES[api]} alternatives, not {count}"
        raise SamplingError(option="logprobs", problem=problem)
    if api == "text":
        return {"logprobs": count}
    return {"logprobs": True, "top_logprobs": count} if count else {"logprobs": True}


def _response_format(schema: Any, api: Api) -> dict[str, Any]:
    if api == "text":
        problem = "raw prompts go to /completions, which takes no schema: send messages"
        raise SamplingError(option="schema", problem=problem)
    if not isinstance(schema, dict):
        raise SamplingError(option="schema", problem="a JSON schema is an object")
    named = {"name": "answer", "schema": schema, "strict": True}
    return {"type": "json_schema", "json_schema": named}


def _checked(sampling: Sampling, option: str, default: Any, is_right: Callable[[Any], bool]) -> Any:
    value = sampling.get(option, default)
    if not is_right(value):
        problem = f"{value!r} {(is_right.__doc__ or '').rstrip('.')}"
        raise SamplingError(option=option, problem=problem)
    return value


def _is_whole(value: Any) -> bool:
    """is no whole number."""
    return type(value) is int


def _is_natural(value: Any) -> bool:
    """is no whole number from 0."""
    return type(value) is int and value >= 0


def _is_positive(value: Any) -> bool:
    """is no whole number above 0."""
    return type(value) is int and value > 0


def _is_not_negative(value: Any) -> bool:
    """is no number from 0."""
    return type(value) in (int, float) and value >= 0 and math.isfinite(value)


def _is_share(value: Any) -> bool:
    """is not above 0 and at most 1."""
    return type(value) in (int, float) and 0 < value <= 1


def _are_texts(value: Any) -> bool:
    """is no list of texts, none of them empty."""
    return isinstance(value, list) and all(isinstance(each, str) and each for each in value)
