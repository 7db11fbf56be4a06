"""What travels between the kernel and an engine: a driver process that computes completions.

An engine is an actor (``Declares.driver`` names its kind), spawned by the kernel, known by actor
id, incarnation and token like any other; the kinds below go over its numbered channel
(ipc/protocol.py) and are taken from nobody else. What is in flight between kernel and engine is
volatile: a new kernel epoch or a new incarnation of the engine begins with nothing. Bodies are
msgpack (ipc/plain.py). Token ids, slots and blocks are little-endian int32 bytes, rows of
pairs and triples flat.

    ENGINE     engine to kernel: EngineNews. "loading" as it loads, then "ready" or "failed".
    PREPARE    kernel to engine. correlation = request; body: Preparation. Answered, in any
               order, by PREPARED: the token ids, or the text of a completion that the kernel
               itself has ended (body: Prepared), or flag FAILED, body: error.
               The engine does this outside its step loop.
    PLAN       kernel to engine. body: Plan, one step.        (engines with a KV cache)
    REPORT     engine to kernel. body: Report, of one plan, in order.
    CALL       kernel to engine. correlation = request; body: RemoteCall.     (remote engines)
    PIECE      engine to kernel. correlation = request; body: Piece (ipc/llm.py).
    DONE       engine to kernel. correlation = request; body: Completion without ids and times
               (usage: prompt, cached and completion tokens; absent if the endpoint did not
               say); flag FAILED: body RemoteFailure.
    CANCEL     kernel to remote engine. correlation = request, turn = 0: stop it, answer nothing
               more.

Plans. They are numbered from 1 without gaps for each (kernel epoch, engine incarnation). At
most one plan is ahead of the step that runs. A plan with ``reset`` comes first: the engine drops
all it knew. The engine carries a plan out in the order of the fields of ``Plan``: requests
dropped, copies (device to host, host to device, copy on write), requests added, blocks
appended, then one forward pass over the prefill stretches and one token of each decoding slot,
then sampling.

    Slots number the requests that the engine knows: 0 <= slot < max_running.
    A request's tokens are its ``ids`` and, appended by the engine itself, what it sampled.
    Prefill computes tokens [start, start + count) of a slot. If that is the last known token,
    the step samples one more: its row comes after the decoding slots' rows, in the plan's order.
    Decoding slots: the set is kept from plan to plan; ``decode_on`` and ``decode_off`` change
    it, and a dropped slot is in it no more. Each computes its last known token, which may be
    one that the running step is about to sample, and samples the next. Rows are in ascending
    order of slot.
    Block i of a slot's table holds its tokens [i * block_size, (i + 1) * block_size).

The engine ends a request by itself: stop token, stop string, end of grammar, ``max_tokens``.
The kernel may have planned further steps for it; the engine computes or skips these as it
likes, and gives -1 as the token of such a row (or of a slot that failed). A slot is free for
another request when the kernel has dropped it, never before.

A request with non-finite logits, or whose sampling failed, fails alone: it is in ``failed`` and
its row is -1; the rest of the batch goes on. If the whole step fails (out of memory), the
engine says ENGINE "failed" and exits; the kernel starts another and resumes all requests.

Noise for sampling depends on (seed, position of the sampled token) alone, so that a request
resumed elsewhere goes on as it would have.
"""

from __future__ import annotations

from typing import Any, Final, Literal, NotRequired

from typing_extensions import TypedDict

from ipc.llm import FinishReason, LlmInput, Sampling


class EngineFacts(TypedDict, total=False):
    """What an engine says of itself once it is ready."""

    architecture: str
    parameters: int
    weight_bytes: int
    dtype: str
    device: str
    vocab_size: int
    max_context: int  # tokens, prompt and completion together
    block_size: int  # tokens; 0: no KV cache of ours (remote)
    num_blocks: int
    num_host_blocks: int
    block_bytes: int
    max_running: int
    max_step_tokens: int
    recompute_ns_per_token: float  # measured: prefill of one token
    swap_ns_per_block: float  # measured: one block to host memory or back
    stop_ids: list[int]
    load_s: float


class EngineNews(TypedDict, total=False):
    """Body of ENGINE."""

    state: Literal["loading", "ready", "failed"]
    progress: float  # 0 to 1, while loading
    facts: EngineFacts  # when ready
    error: dict[str, Any]  # when failed, as ipc.errors.to_wire


class Preparation(TypedDict, total=False):
    """Body of PREPARE: text to tokens, and a check of all that only the engine can check.

    Or tokens to text: then there are ``emitted`` and ``sampling``, and no ``input``.
    """

    input: LlmInput
    previous: bytes  # ids the input's ids follow (a session); raw prompts get no BOS then
    sampling: Sampling  # absent: only tokens are asked for
    emitted: bytes  # all ids of a completion that has ended; its text is asked for


class Prepared(TypedDict):
    """Body of PREPARED: the ids of the input alone; messages give the whole conversation's."""

    ids: bytes  # empty if a text was asked for
    text: NotRequired[str]  # of the emitted ids, before the first stop string


class NewRequest(TypedDict):
    """A request that takes a slot: new, resumed after preemption, or on a new engine."""

    slot: int
    request: int
    ids: bytes  # prompt, then what was emitted before
    num_prompt: int  # how many of them are the prompt
    sampling: Sampling  # complete: max_tokens (of the whole completion) and seed are there
    stream: bool  # text is wanted as it comes
    sent_chars: int  # of the completion's text, what is known by the kernel already
    blocks: bytes  # its block table so far
    computed: int  # tokens whose keys and values are in these blocks
    has_tools: NotRequired[bool]  # the input declared tools: the text may hold calls of them


class Plan(TypedDict, total=False):
    """One step; an absent field is empty."""

    plan: int
    reset: bool
    drop: bytes  # slots
    copy_out: bytes  # pairs: device block, host block
    copy_in: bytes  # pairs: host block, device block
    copy: bytes  # pairs: device block, device block
    add: list[NewRequest]
    blocks: bytes  # pairs: slot, device block; appended in this order
    prefill: bytes  # triples: slot, start, count
    decode_off: bytes  # slots
    decode_on: bytes  # slots


class Ended(TypedDict):
    """A request that the engine has ended in this step."""

    slot: int
    reason: FinishReason  # on the wire "stop", "length" or "tool_calls"
    text: str  # of the whole completion
    tokens: int  # of the completion, the last sampled one included
    tool_calls: NotRequired[list[dict[str, Any]]]


class Failed(TypedDict):
    """A request that failed alone."""

    slot: int
    error: dict[str, Any]


class Report(TypedDict, total=False):
    """What a step gave; an absent field is empty."""

    plan: int
    tokens: bytes  # one a sampled row
    texts: list[list[Any]]  # [slot, text] of streamed requests that have new text
    logprobs: list[list[Any]]  # [slot, {"id", "logprob", "top"}]
    ended: list[Ended]
    failed: list[Failed]
    step_ns: int  # of the whole step
    idle_ns: int  # between the step before and this one, with no plan at hand


class RemoteCall(TypedDict, total=False):
    """Body of CALL."""

    input: LlmInput
    sampling: Sampling
    stream: bool
    remaining_ns: int  # to the deadline; absent: none


class RemoteFailure(TypedDict, total=False):
    """Body of DONE with FAILED."""

    error: dict[str, Any]
    is_unstarted: bool  # the endpoint proves that nothing was generated: it may be tried again
    is_in_doubt: bool  # something may have been generated and billed; neither: it has ended so
    retry_after_s: float


NO_TOKEN: Final = -1
