"""What an endpoint has answered so far, whole or in chunks, and the completion it makes.

One rule for both APIs: text, tool calls, logprobs come before the finish reason, usage may come
with it or after. Memory is bounded by ``limit``, which follows from what was asked for.
"""

from __future__ import annotations

from typing import Any, Final

from actors.remote_engine.failure import LieError
from actors.remote_engine.tool_calls import ToolCalls
from actors.remote_engine.usage import RemoteUsage, read_usage
from ipc.llm import FinishReason, Sampling

DEFAULT_MAX_TOKENS: Final = 256  # ipc.llm.Sampling's
BYTES_PER_TOKEN: Final = 512  # of JSON, generously
BYTES_PER_ALTERNATIVE: Final = 256
SLACK_BYTES: Final = 1 << 20
MAX_ANSWER: Final = 32 << 20  # it must fit into a message to the kernel

_REASONS: Final[dict[str, FinishReason]] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
}


def answer_limit(sampling: Sampling) -> int:
    """Return how many bytes an honest answer has at most."""
    each = BYTES_PER_TOKEN
    if "logprobs" in sampling:
        each += BYTES_PER_ALTERNATIVE * (sampling["logprobs"] + 1)
    return min(MAX_ANSWER, SLACK_BYTES + each * sampling.get("max_tokens", DEFAULT_MAX_TOKENS))


class Answer:
    """See the module head."""

    def __init__(self, limit: int) -> None:
        self.tool_calls = ToolCalls()
        self.limit = limit
        self._size = 0
        self._texts: list[str] = []
        self._num_shown = 0  # of _texts, what ``take_text`` has returned
        self._logprobs: list[dict[str, Any]] = []
        self._reason: FinishReason | None = None
        self._usage: RemoteUsage | None = None

    @property
    def is_finished(self) -> bool:
        """Whether the endpoint has said why it ended."""
        return self._reason is not None

    def add_text(self, text: str) -> None:
        """Take a piece of the completion's text."""
        if text:
            self._grow(len(text))
            self._texts.append(text)

    def add_tool_calls(self, message: dict[str, Any]) -> None:
        """Take tool calls, or fragments of some."""
        if size := self.tool_calls.add(message):
            self._grow(size)

    def add_logprobs(self, entries: list[dict[str, Any]]) -> None:
        """Take logprobs of tokens, in order."""
        for entry in entries:
            self._grow(BYTES_PER_ALTERNATIVE * (1 + len(entry["top"])) // 4)
        self._logprobs += entries

    def finish(self, reason: Any) -> None:
        """Take why it ended; None: it goes on."""
        if reason is None:
            return
        if reason == "content_filter":
            raise LieError("its content filter held the completion back")
        if not isinstance(reason, str) or reason not in _REASONS:
            raise LieError(f"the finish reason {str(reason)[:64]!r} is not known")
        if self._reason not in (None, _REASONS[reason]):
            raise LieError("it gave two finish reasons")
        self._reason = _REASONS[reason]

    def add_usage(self, value: Any) -> None:
        """Take what it says it took; the last word counts."""
        if value is not None:
            self._usage = read_usage(value)

    def take_text(self) -> str:
        """Return the text that came since the last time."""
        text = "".join(self._texts[self._num_shown :])
        self._num_shown = len(self._texts)
        return text

    def completion(self) -> dict[str, Any]:
        """Return the body of DONE.

        Raises:
            LieError: it did not end, or what it says does not fit together.
        """
        calls = self.tool_calls.result()
        if self._reason is None:
            raise LieError("it ended without a finish reason")
        if self._reason == "tool_calls" and not calls:
            raise LieError("it calls tools and names none")
        done: dict[str, Any] = {"text": "".join(self._texts), "finish_reason": self._reason}
        if calls:
            # A call that was demanded by name ends with "stop"; one cut off with "length".
            done["finish_reason"] = "length" if self._reason == "length" else "tool_calls"
            done["tool_calls"] = calls
        if self._logprobs:
            done["logprobs"] = self._logprobs
        if self._usage is not None:
            done["usage"] = dict(self._usage)
        return done

    def _grow(self, size: int) -> None:
        if self._reason is not None:
            raise LieError("more came after the finish reason")
        self._size += size
        if self._size > self.limit:
            raise LieError(f"an answer of more than {self.limit} bytes")
