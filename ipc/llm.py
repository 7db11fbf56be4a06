"""LLM system calls: asks to actor 0, like those of ipc/syscalls.py, and what they answer.

Agents and clients may make all of them but those marked "operator". Inside a turn they are
recorded calls: a retried turn gets the recorded completion, nothing is computed or paid twice.
Deadline and priority ride in the envelope's header.

    name              arguments                             answer
    llm_generate      LlmRequest                            Completion; with the STREAM flag the
                                                            items are Piece, the end Completion
    llm_count         model, input: LlmInput                {"tokens"}
    llm_session       [model]                               SessionInfo; the session stays on the
                                                            model version it began with
    llm_append        session, input                        SessionInfo
    llm_fork          session, count                        [SessionInfo]; blocks are shared,
                                                            copied on write
    llm_pin           session, ttl_s (0: unpin)             {}; its blocks are kept that long
    llm_close         session                               {}
    models                                                  [ModelInfo]
    model_add         operator. spec: ModelSpec             ModelInfo; a new version if the name
                                                            is there already
    model_remove      operator. name [, version]            {}; refused while sessions use it
    model_use         operator. name [, version]            ModelInfo; new requests without
                                                            ``model=`` go there
    model_load        operator. name                        ModelInfo once its engine is ready
    llm_status        operator                              LlmStatus, for ``llmos top``
    record_start      operator  path: absolute              RecordingInfo; what comes from now on is
                                                            recorded, lengths and times only
    record_stop       operator                              RecordingInfo
    record_status     operator                              RecordingInfo

A session's tokens are the truth and are journaled; the blocks that hold their keys and values
are a cache. A session belongs to the agent that made it and ends with it (termination, not
crash); a client's ends with the client. Sessions made by a turn that never commits are closed.

Token ids travel as little-endian int32 bytes everywhere.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

EMBEDDED_MODEL = "embedded"  # there in every kernel, unless removed
EMBEDDED_PATH = "embedded:"  # its path; the engine knows where the package has it

_EXACT: dict[str, Any] = {"extra": "forbid"}  # for pydantic: an unknown key is an error

FinishReason = Literal["stop", "length", "tool_calls", "quota", "deadline"]


class LlmInput(TypedDict, total=False):
    """Exactly one of the first three."""

    __pydantic_config__ = _EXACT  # type: ignore[misc]

    prompt: str  # raw text
    ids: bytes  # int32 token ids
    messages: list[dict[str, Any]]  # chat: {"role", "content", ...}, by the model's template
    tools: list[dict[str, Any]]  # with messages: OpenAI's function declarations


class Sampling(TypedDict, total=False):
    """How tokens are chosen. All absent: greedy, until a stop token or 256 tokens."""

    __pydantic_config__ = _EXACT  # type: ignore[misc]

    max_tokens: int  # > 0
    temperature: float  # 0: greedy
    top_k: int  # 0: all
    top_p: float  # (0, 1]
    min_p: float  # [0, 1)
    repetition_penalty: float  # > 0
    stop: list[str]  # the text ends before the first of them
    stop_ids: list[int]  # besides the model's own
    ignore_stop_ids: bool  # go on until max_tokens (benches)
    seed: int  # drawn by the kernel and journaled if absent
    logprobs: int  # how many alternatives a token, 0: only its own; absent: none
    schema: dict[str, Any]  # JSON schema that the text keeps to
    regex: str  # a regular expression that the text keeps to


class LlmRequest(TypedDict, total=False):
    """Arguments of ``llm_generate``: ``input`` or ``session`` (or both: append, then go on)."""

    __pydantic_config__ = _EXACT  # type: ignore[misc]

    model: str  # "name" or "name@version"; absent: the session's, or the one in use
    input: LlmInput
    session: int
    sampling: Sampling
    call_site: str  # where in the agent's code; learned from, never shown to models
    on_doubt: Literal["raise", "retry"]  # remote models; default raise


class Usage(TypedDict):
    """What one completion took. Times are of the kernel's clock."""

    prompt_tokens: int  # this and the next two: 0 if a remote model's endpoint does not say
    cached_tokens: int  # of these, found in the KV cache (or said so by the endpoint)
    completion_tokens: int
    waiting_ns: int  # from acceptance to the first planned step
    prefill_ns: int  # from there to the first token
    decode_ns: int  # from there to the last
    preemptions: int
    model: str
    version: int


class Completion(TypedDict):
    """The answer of ``llm_generate``."""

    text: str
    ids: bytes  # of the completion; empty for remote models
    finish_reason: FinishReason
    usage: Usage
    tool_calls: NotRequired[list[dict[str, Any]]]  # {"id", "name", "arguments": {...}}
    # {"id", "logprob", "top": [[id, logprob], ...]}; of remote models texts stand for the ids
    logprobs: NotRequired[list[dict[str, Any]]]


class Piece(TypedDict):
    """One item of a streamed completion. Texts join to the completion's text."""

    text: str
    tokens: int  # how many tokens it stands for; 0: remote models do not say


class SessionInfo(TypedDict):
    """One conversation whose tokens the kernel keeps."""

    session: int
    model: str
    version: int
    tokens: int


class ModelSpec(TypedDict, total=False):
    """What ``model_add`` is told. Exactly one of path, endpoint and driver."""

    __pydantic_config__ = _EXACT  # type: ignore[misc]

    name: str
    path: str  # absolute path of a model folder
    driver: str  # an engine of one's own (ipc/engine.py): module:Class, or /path/file.py:Class
    endpoint: str  # base URL of an OpenAI-compatible API, e.g. http://host:8000/v1
    remote_model: str  # the endpoint's name for it; default: name
    key_env: str  # environment variable that holds the endpoint's key
    key_file: str  # or a file that does
    dtype: Literal["auto", "float32", "bfloat16", "float16"]
    device: str  # "auto", "cpu", "cuda", "cuda:1"
    engines: int  # how many engine processes, default 1
    threads: int  # CPU threads of each; 0: its own choice
    block_size: int  # tokens of a KV block, default 16
    kv_bytes: int  # memory for KV blocks of each engine; 0: from what is free
    host_kv_bytes: int  # second tier, for swapped requests and idle contexts; default 0
    max_running: int  # requests decoded at once, default 256
    max_step_tokens: int  # token budget of a step, default 512 on CPU
    max_context: int  # tokens; default: the model's
    concurrency: int  # remote: requests at once, default 8
    requests_per_minute: int  # remote; 0: no limit
    tokens_per_minute: int  # remote; 0: no limit
    price_in: int  # millionths of money for a million tokens of prompts; 0: nothing
    price_out: int  # the same for tokens of completions
    timeout_s: float  # remote: silence allowed, default 60; only streams speak before their end


class Served(TypedDict):
    """What a version of a model has answered, over all kernels of a home."""

    completions: int
    prompt_tokens: int
    cached_tokens: int  # of these
    completion_tokens: int


class ModelInfo(TypedDict):
    """One line of ``llmos model ls``."""

    name: str
    version: int
    kind: Literal["torch", "remote", "driver"]
    location: str  # folder, URL or driver
    is_default: bool
    state: str  # idle, loading, ready, failed
    engines: int  # ready ones
    sessions: int
    served: Served
    facts: dict[str, Any]  # of a ready engine, see ipc/engine.py EngineFacts
    error: dict[str, Any] | None  # as ipc.errors.to_wire


class EngineStatus(TypedDict):
    """One engine, for ``llmos top``."""

    actor: int
    name: str
    model: str
    version: int
    state: str
    waiting: int
    running: int
    blocks: int  # of the pool
    blocks_used: int  # held by requests, sessions and pins
    blocks_cached: int
    generated_tokens: int  # since the engine is up
    prompt_tokens: int
    cached_tokens: int
    steps: int
    preemptions: int
    demoted_blocks: int  # of idle contexts, copied to host memory
    promoted_blocks: int  # and back, for requests that go on with them
    step_ns: int  # of the last step


class OwnerStatus(TypedDict):
    """What one agent or client holds of the engines."""

    actor: int
    name: str
    waiting: int
    running: int
    blocks: int
    generated_tokens: int


class RecordingInfo(TypedDict):
    """``record_status``: the recording under way, or how the last one of this kernel ended.

    state: idle starting recording stopping stopped failed.  problem: why it failed.
    noted: requests that have ended since the beginning.  dropped: of them, not written.
    """

    state: str
    path: str
    noted: int
    written: int
    dropped: int
    problem: str


class LlmStatus(TypedDict):
    """``llm_status``."""

    engines: list[EngineStatus]
    owners: list[OwnerStatus]
