"""From what a caller gave to token ids, and the checks that only the engine can make.

And back, for completions that the kernel has ended: from all their ids to their text.

Runs in a thread of its own, outside the steps.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from actors.torch_engine.completions import spell
from actors.torch_engine.detokeniser import decoder_of
from actors.torch_engine.grammar import Grammars
from actors.torch_engine.options import options_of
from ipc.engine import Preparation, Prepared
from ipc.errors import BadPromptError, PromptTooLongError, SamplingError
from ipc.llm import LlmInput

_WAYS = ("prompt", "ids", "messages")


class Preparer:
    """See the module head."""

    def __init__(
        self, tokenizer: Any, grammars: Grammars, *, vocab_size: int, max_context: int
    ) -> None:
        self._tokenizer = tokenizer
        self._decode = decoder_of(tokenizer)
        self._grammars = grammars
        self._vocab_size = vocab_size
        self._max_context = max_context

    def prepare(self, preparation: Preparation) -> Prepared:
        """Return the ids, or the text that was asked for.

        Raises:
            BadPromptError, PromptTooLongError, SamplingError, BadGrammarError.
        """
        if "emitted" in preparation:
            options = options_of(preparation["sampling"])
            emitted = self._checked(preparation["emitted"])
            return Prepared(ids=b"", text=spell(emitted.tolist(), options.stop, self._decode))
        if "sampling" in preparation:
            options = options_of(preparation["sampling"])
            for token in options.stop_ids:
                if token >= self._vocab_size:
                    raise SamplingError(option="stop_ids", problem=f"there is no token {token}")
            self._grammars.check(options)
        previous = len(preparation.get("previous", b"")) // 4
        given = preparation["input"]
        ids = self._ids(given, follows=previous > 0)
        if not len(ids):
            raise BadPromptError(problem="it is empty")
        total = len(ids) + (0 if "messages" in given else previous)
        if total >= self._max_context:
            raise PromptTooLongError(
                value=total, what="the model's context", limit=self._max_context - 1
            )
        return Prepared(ids=ids.astype("<i4").tobytes())

    def _ids(self, given: LlmInput, *, follows: bool) -> NDArray[np.int64]:
        ways = [way for way in _WAYS if way in given]
        if len(ways) != 1:
            raise BadPromptError(problem=f"give exactly one of {', '.join(_WAYS)}")
        if "tools" in given and "messages" not in given:
            raise BadPromptError(problem="tools go with messages")
        if "ids" in given:
            return self._checked(given["ids"])
        if self._tokenizer is None:
            raise BadPromptError(
                problem="the model's folder has no tokenizer; give token ids, or put its "
                "tokenizer.json there and load the model again"
            )
        if "prompt" in given:
            return self._encoded(given["prompt"], follows=follows)
        return self._rendered(given)

    def _checked(self, data: Any) -> NDArray[np.int64]:
        if not isinstance(data, bytes) or len(data) % 4:
            raise BadPromptError(problem="ids are little-endian int32 bytes")
        ids = np.frombuffer(data, "<i4").astype(np.int64)
        wrong = ids[(ids < 0) | (ids >= self._vocab_size)]
        if len(wrong):
            raise BadPromptError(problem=f"there is no token {wrong[0]}")
        return ids

    def _encoded(self, prompt: Any, *, follows: bool) -> NDArray[np.int64]:
        if not isinstance(prompt, str):
            raise BadPromptError(problem="prompt is not a text")
        if not prompt:
            raise BadPromptError(problem="it is empty")
        ids = self._tokenizer(prompt, add_special_tokens=not follows)["input_ids"]
        return np.array(ids, np.int64)

    def _rendered(self, given: LlmInput) -> NDArray[np.int64]:
        messages = given["messages"]
        if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
            raise BadPromptError(problem="messages is not a list of messages")
        if not messages:
            raise BadPromptError(problem="it is empty")
        if not self._tokenizer.chat_template:
            raise BadPromptError(problem="the model has no chat template; give a prompt")
        try:
            text = self._tokenizer.apply_chat_template(
                messages,
                tools=given.get("tools") or None,
                add_generation_prompt=True,
                tokenize=False,
            )
        except Exception as error:  # the template is a program of the model's author
            raise BadPromptError(problem=f"the chat template refuses it: {error}") from error
        ids = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return np.array(ids, np.int64)
