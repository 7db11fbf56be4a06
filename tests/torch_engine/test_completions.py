"""What the kernel is told of a request: texts, ends, grammar, tools, after resuming as well."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from actors.torch_engine.grammar import Grammars
from actors.torch_engine.preparation import Preparer
from ipc.errors import (
    BadGrammarError,
    BadPromptError,
    LLMOSError,
    PromptTooLongError,
    SamplingError,
    from_wire,
)
from tests.torch_engine.models import ARCHITECTURES, VOCAB
from tests.torch_engine.scheduler import Job, Scheduler, assembled, int32
from tests.torch_engine.tokenizers_made import byte_level

ARCHITECTURES["spoken"] = ("Llama", {**ARCHITECTURES["llama"][1], "vocab_size": 320})
PROMPT = [40, 60, 80, 100]
SCHEMA = {
    "type": "object",
    "properties": {"age": {"type": "integer"}, "ok": {"type": "boolean"}},
    "required": ["age", "ok"],
    "additionalProperties": False,
}


@cache
def engine() -> Any:
    return assembled("spoken", tokenizer=byte_level())


def completed(**options: Any) -> Job:
    """Return a job that has run to its end, alone."""
    scheduler = Scheduler(engine())
    job = scheduler.submit(PROMPT, options.pop("num", 24), **options)
    scheduler.run_all()
    return job


def test_the_text_is_that_of_the_tokens_streamed_or_not() -> None:
    streamed, whole = completed(stream=True), completed()

    assert streamed.completion == whole.completion
    expected = byte_level().decode(whole.completion, skip_special_tokens=True)
    assert streamed.text == whole.ended["text"] == expected
    assert (whole.ended["reason"], whole.ended["tokens"]) == ("length", 24)


def test_a_stop_string_ends_the_text_before_it() -> None:
    text = completed().ended["text"]
    stop = text[7:10]

    job = completed(stop=[stop, "never there"], stream=True)

    assert job.ended["reason"] == "stop"
    assert job.ended["text"] == job.text == text[: text.find(stop)]


def test_a_stop_token_ends_the_request_and_is_no_text() -> None:
    tokens = completed().completion
    stop = tokens[5]
    at = tokens.index(stop)

    job = completed(stop_ids=[stop], ignore_stop_ids=False)

    assert job.ended["reason"] == "stop"
    assert job.completion == tokens[: at + 1]
    assert job.ended["text"] == byte_level().decode(tokens[:at], skip_special_tokens=True)


@pytest.mark.parametrize("options", [{}, {"temperature": 1.5, "seed": 5, "top_p": 0.9}])
def test_a_resumed_request_goes_on_as_it_would_have(options: dict[str, Any]) -> None:
    expected = completed(stream=True, **options)
    scheduler = Scheduler(engine())
    job = scheduler.submit(PROMPT, 24, stream=True, **options)
    scheduler.admit(job)
    scheduler.step([(job, 99)])
    for _ in range(9):
        scheduler.step([], [job])

    scheduler.preempt(job)
    scheduler.run_all()

    assert job.completion == expected.completion
    assert job.text == job.ended["text"] == expected.text


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_schema_is_kept_to_and_ends_the_request(temperature: float) -> None:
    options = {"schema": SCHEMA, "temperature": temperature, "num": 200}

    job = completed(ignore_stop_ids=False, **options)

    value = json.loads(job.ended["text"])
    assert job.ended["reason"] == "stop"
    assert (type(value["age"]), type(value["ok"])) == (int, bool)


def test_a_regex_is_kept_to_beside_requests_without_one_and_after_resuming() -> None:
    scheduler = Scheduler(engine())
    free = scheduler.submit(PROMPT, 24)
    bound = scheduler.submit(PROMPT, 40, regex="[A-C]{12}", ignore_stop_ids=False)
    for job in (free, bound):
        scheduler.admit(job)
    scheduler.step([(free, 99), (bound, 99)])
    scheduler.step([], [free, bound])

    scheduler.preempt(bound)
    scheduler.run_all()

    assert re.fullmatch("[A-C]{12}", bound.ended["text"])
    assert free.completion == completed().completion


def test_a_grammar_that_grows_beyond_all_limits_fails_alone() -> None:
    scheduler = Scheduler(engine())
    free = scheduler.submit(PROMPT, 24)
    # Its first tokens cost nothing; what must follow is an automaton the library gives up.
    options = {"regex": "(x|y|z){2}((a{100}){100}){100}", "ignore_stop_ids": False}
    bound = scheduler.submit(PROMPT, 40, **options)
    for job in (free, bound):
        scheduler.admit(job)

    scheduler.run_all()

    error = from_wire(bound.error)
    assert isinstance(error, BadGrammarError)
    assert "<state>" not in str(error)
    assert free.completion == completed().completion


def test_tool_calls_are_told_when_the_input_declared_tools() -> None:
    call = r'<tool_call>\{"name": "f", "arguments": \{"x": [0-9]\}\}</tool_call>'
    options = {"regex": call, "ignore_stop_ids": False, "num": 200}

    with_tools, without = completed(has_tools=True, **options), completed(**options)

    assert with_tools.ended["reason"] == "tool_calls"
    assert with_tools.ended["tool_calls"][0]["name"] == "f"
    assert without.ended["reason"] == "stop"
    assert "tool_calls" not in without.ended


def test_logprobs_come_with_every_token() -> None:
    job = completed(logprobs=3, num=6)

    assert [entry["id"] for entry in job.logprobs] == job.completion
    assert all(entry["top"][0][0] == entry["id"] for entry in job.logprobs)  # greedy


# --- preparation --------------------------------------------------------------------------


def prepare(**preparation: Any) -> list[int]:
    preparer: Preparer = engine().preparer
    data = preparer.prepare(preparation)["ids"]  # type: ignore[arg-type]
    return [int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data), 4)]


def test_texts_and_conversations_become_tokens() -> None:
    tokenizer = byte_level()
    messages = [{"role": "user", "content": "fox"}]

    assert prepare(input={"prompt": "the fox"}) == tokenizer("the fox")["input_ids"]
    assert prepare(input={"ids": int32(5, 6)}) == [5, 6]
    assert tokenizer.decode(prepare(input={"messages": messages})) == "<|user|>fox<|assistant|>"
    tools = [{"type": "function", "function": {"name": "f"}}]
    with_tools = tokenizer.decode(prepare(input={"messages": messages, "tools": tools}))
    assert '"name": "f"' in with_tools


BAD: list[tuple[dict[str, Any], type[LLMOSError]]] = [
    ({"input": {}}, BadPromptError),
    ({"input": {"prompt": "a", "ids": b""}}, BadPromptError),
    ({"input": {"prompt": ""}}, BadPromptError),
    ({"input": {"prompt": 7}}, BadPromptError),
    ({"input": {"ids": b""}}, BadPromptError),
    ({"input": {"ids": b"abc"}}, BadPromptError),
    ({"input": {"ids": int32(320)}}, BadPromptError),
    ({"input": {"ids": int32(-1)}}, BadPromptError),
    ({"input": {"messages": []}}, BadPromptError),
    ({"input": {"messages": [{"role": "user"}]}}, BadPromptError),
    ({"input": {"prompt": "a", "tools": []}}, BadPromptError),
    ({"input": {"ids": int32(*[5] * 256)}}, PromptTooLongError),
    ({"input": {"ids": int32(5)}, "previous": int32(*[5] * 255)}, PromptTooLongError),
]
BAD += [
    ({"input": {"ids": int32(5)}, "sampling": sampling}, error)
    for sampling, error in [
        ({"temperature": -1.0}, SamplingError),
        ({"temperature": float("nan")}, SamplingError),
        ({"temperature": "hot"}, SamplingError),
        ({"max_tokens": 0}, SamplingError),
        ({"top_p": 0.0}, SamplingError),
        ({"min_p": 1.0}, SamplingError),
        ({"top_k": -1}, SamplingError),
        ({"repetition_penalty": 0}, SamplingError),
        ({"stop": [""]}, SamplingError),
        ({"stop": "x"}, SamplingError),
        ({"stop_ids": [VOCAB * 100]}, SamplingError),
        ({"logprobs": 10_000}, SamplingError),
        ({"seed": -1}, SamplingError),
        ({"warmth": 1}, SamplingError),
        ({"schema": {"type": "object"}, "regex": "a"}, SamplingError),
        ({"stop_ids": [1], "ignore_stop_ids": True}, SamplingError),
        ({"schema": {"type": "no such type"}}, BadGrammarError),
        ({"regex": "(unclosed"}, BadGrammarError),
        ({"regex": "((a{100}){100}){100}"}, BadGrammarError),  # an automaton beyond all limits
    ]
]


@pytest.mark.parametrize(("preparation", "error"), BAD)
def test_bad_input_is_a_typed_error(preparation: dict[str, Any], error: type[LLMOSError]) -> None:
    with pytest.raises(error):
        prepare(**preparation)


def test_a_model_without_a_tokenizer_takes_token_ids_and_says_what_a_text_would_need() -> None:
    preparer = Preparer(None, Grammars(None, VOCAB, ()), vocab_size=VOCAB, max_context=256)

    assert preparer.prepare({"input": {"ids": int32(5, 6)}})["ids"] == int32(5, 6)
    with pytest.raises(BadPromptError, match=r"put its tokenizer\.json there"):
        preparer.prepare({"input": {"prompt": "a text"}})


@pytest.mark.parametrize("count", [1, 7, 24])
def test_a_completion_that_the_kernel_has_ended_is_spelt_as_it_would_have_been(count: int) -> None:
    job = completed()
    shorter = completed(num=count)
    emitted = int32(job.completion[:count])

    spelt = engine().preparer.prepare({"emitted": emitted, "sampling": {"max_tokens": 24}})

    assert spelt == {"ids": b"", "text": shorter.ended["text"]}


def test_a_text_that_was_asked_for_ends_before_its_stop_string() -> None:
    job = completed()
    stop = job.ended["text"][5:8]
    sampling = {"max_tokens": 24, "stop": [stop]}

    spelt = engine().preparer.prepare({"emitted": int32(job.completion), "sampling": sampling})

    assert spelt["text"] == job.ended["text"][: job.ended["text"].find(stop)]
