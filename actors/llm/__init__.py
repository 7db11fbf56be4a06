"""Language models from agents and clients: completions, chats, streams, sessions."""

from actors.llm.blocking import BlockingLlm, BlockingLlmSession
from actors.llm.completion import Completion, TokenLogprob, ToolCall, Usage
from actors.llm.llm import Llm
from actors.llm.session import LlmSession
from actors.llm.stream import CompletionStream

__all__ = [
    "BlockingLlm",
    "BlockingLlmSession",
    "Completion",
    "CompletionStream",
    "Llm",
    "LlmSession",
    "TokenLogprob",
    "ToolCall",
    "Usage",
]
