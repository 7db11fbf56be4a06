"""Language models: what ``self.llm`` and ``client.llm`` are.

    label = await self.llm.complete(f"Ticket: {text}\\nTeam:", max_tokens=8, stop="\\n")
    answer = await self.llm.chat([{"role": "user", "content": text}], schema=Ticket)
    async for piece in self.llm.stream(prompt): ...

Calls are system calls of the kernel (ipc/llm.py), which owns queue, cache and batch. In a turn
they are recorded: a retried turn gets the recorded completion, nothing is computed or paid
twice. They inherit the turn's deadline and priority. In a ``def`` handler: ``.result()``.

Options: actors/llm/options.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from typing_extensions import TypeVar, Unpack

from actors.llm.call import LlmCall, LlmPort, Request, call_site
from actors.llm.completion import Completion, read_completion
from actors.llm.inputs import (
    Message,
    Messages,
    Prompt,
    Tools,
    chat_input,
    read_input,
    read_messages,
    read_prompt,
)
from actors.llm.options import LlmOptions, prepare
from actors.llm.session import Finish, LlmSession, SessionCall
from actors.llm.stream import CompletionStream
from actors.llm.structure import read_structure
from actors.reference import PLAIN
from ipc.llm import LlmInput, ModelInfo

P = TypeVar("P", default=Any)


class Llm:
    """See the module head."""

    def __init__(self, port: LlmPort) -> None:
        self._port = port

    def complete(
        self,
        prompt: Prompt,
        *,
        schema: type[P] | dict[str, Any] | None = None,
        **options: Unpack[LlmOptions],
    ) -> LlmCall[Completion[P]]:
        """Go on from a raw text (or token ids), without a chat template.

        schema: a type or a JSON schema that the text keeps to; then ``.parsed`` is there.
        Raises:
            SamplingError, BadPromptError, BadGrammarError: nothing was sent.
        """
        return LlmCall(*self._generation(read_prompt(prompt), schema, options))

    def chat(
        self,
        messages: Messages,
        *,
        tools: Tools | None = None,
        schema: type[P] | dict[str, Any] | None = None,
        **options: Unpack[LlmOptions],
    ) -> LlmCall[Completion[P]]:
        """Answer a conversation: messages with roles, or one text of the user's.

        tools: functions with type hints, or declarations; the model's wishes to call them are
            in ``.tool_calls``. schema: as in ``complete``.
        """
        given = chat_input(read_messages(messages), tools)
        return LlmCall(*self._generation(given, schema, options))

    def stream(
        self,
        given: Prompt | Sequence[Message],
        *,
        tools: Tools | None = None,
        **options: Unpack[LlmOptions],
    ) -> CompletionStream:
        """Do as ``complete`` (for a text or ids) or ``chat`` (for messages), piece by piece."""
        return CompletionStream(*self._generation(read_input(given, tools), None, options))

    def count_tokens(
        self,
        given: Prompt | Sequence[Message],
        *,
        model: str | None = None,
        tools: Tools | None = None,
    ) -> LlmCall[int]:
        """Return how many tokens the model makes of a text, or of a conversation."""
        arguments: dict[str, Any] = {"input": read_input(given, tools)}
        return LlmCall(self._request("llm_count", arguments, model), _tokens)

    def session(self, *, model: str | None = None) -> SessionCall:
        """Open a session: ``await`` it, or ``async with self.llm.session() as session``."""
        return SessionCall(self._request("llm_session", {}, model))

    def attach(self, session: int) -> LlmSession:
        """Take up a session by its id; whether it is there is seen when it is used."""
        return LlmSession(self._port, session)

    def models(self) -> LlmCall[list[ModelInfo]]:
        """Return the models there are."""
        return LlmCall(self._request("models", {}, None), list)

    def _request(self, name: str, arguments: dict[str, Any], model: str | None) -> Request:
        request = prepare({"model": model}).request
        return Request(self._port, name, {**arguments, **request}, PLAIN)

    def _generation(
        self, given: LlmInput, schema: Any, options: LlmOptions
    ) -> tuple[Request, Finish]:
        """Return the request of a completion and what makes its result."""
        structure = read_structure(schema)
        prepared = prepare(options, structure)
        arguments = {"input": given, **prepared.request}
        aside = {"call_site": call_site()}
        request = Request(self._port, "llm_generate", arguments, prepared.message, aside)
        return request, partial(read_completion, structure=structure)


def _tokens(answer: dict[str, int]) -> int:
    return answer["tokens"]
