"""How an LLM call ends, and what of a streamed one is shown before.

A token is journaled before its text is shown: both are in the write set of one loop turn, and
the frames leave after it (the output rule). Items of a finished stream stay readable, in one row,
until the asker's turn has committed.

Cost: O(1) a piece; a finished completion is one answer row, and one of its model's book.
"""

from __future__ import annotations

import msgpack

from ext.wire import Envelope
from ipc.errors import LLMOSError
from ipc.llm import Completion, FinishReason, Piece, Usage
from ipc.plain import encode_plain
from ipc.protocol import Kind
from kernel.calls import Call
from kernel.llm.job import Job
from kernel.llm.recorder import Recorder
from kernel.llm.served import ServedBook
from kernel.streams import Streams


class Answers:
    """See the module head."""

    def __init__(self, streams: Streams, recorder: Recorder) -> None:
        self.state = streams.state
        self.recorder = recorder
        self.delivery = streams.delivery
        self.streams = streams
        self.served = ServedBook()

    def show(self, job: Job, text: str, tokens: int) -> None:
        """Give a streamed completion's asker further text. tokens: how many it stands for."""
        job.unshown_tokens += tokens
        if not text:
            return
        piece = Piece(text=text, tokens=job.unshown_tokens)
        job.shown += text
        job.unshown_tokens = 0
        self.streams.show(job.call, encode_plain(piece))

    def complete(self, job: Job, completion: Completion) -> None:
        """Answer with the completion; what of its text was not shown yet comes first."""
        call = job.call
        if call.is_stream:
            self.show(job, completion["text"][len(job.shown) :], 0)
            self._keep_items(call)
        body = encode_plain(completion)
        self._count(completion["usage"])
        if self.recorder.recording is not None:
            self.recorder.note(job, completion["usage"])
        self.delivery.finish_call(call, Envelope(Kind.REPLY, payload=body, index=len(call.items)))

    def _count(self, usage: Usage) -> None:
        """Count what is billed: each completion once, where it is answered."""
        counters = self.state.counters
        counters.add("llm_completions")
        counters.add("llm_prompt_tokens", usage["prompt_tokens"])
        counters.add("llm_cached_tokens", usage["cached_tokens"])
        counters.add("llm_completion_tokens", usage["completion_tokens"])
        self.served.add(usage, self.state.output.changes)

    def fail(self, job: Job, error: LLMOSError) -> None:
        """Answer with an error."""
        if job.call.is_stream:
            self._keep_items(job.call)
        if self.recorder.recording is not None:
            self.recorder.note_unfinished(job, "failed")
        self.delivery.answer_error(job.call, error)

    def _keep_items(self, call: Call) -> None:
        if call.items and call.turn:
            row = msgpack.packb([item.payload for item in call.items])
            self.state.output.changes.put_new("llm_stream", call.id, (row,))

    def completion(self, job: Job, text: str, reason: FinishReason) -> Completion:
        """Return what a request's tokens have come to."""
        request = job.request
        assert request is not None
        first = request.first_planned_ns or self.state.now_ns
        first_token = request.first_token_ns or first
        usage = Usage(
            prompt_tokens=request.num_prompt,
            cached_tokens=request.cached_tokens,
            completion_tokens=request.num_emitted,
            waiting_ns=first - job.accepted_ns,
            prefill_ns=first_token - first,
            decode_ns=(request.last_token_ns or self.state.now_ns) - first_token,
            preemptions=request.preemptions,
            model=job.model.name,
            version=job.model.version,
        )
        ids = request.ids[request.num_prompt :].tobytes()
        return Completion(text=text, ids=ids, finish_reason=reason, usage=usage)
