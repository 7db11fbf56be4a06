"""What an engine is to turn into tokens for a job: its own input, or with it all its session's.

Functions of a job; they change nothing.
"""

from __future__ import annotations

from ipc.errors import BadPromptError
from ipc.llm import LlmInput
from kernel.llm.job import Job


def whole_input(job: Job) -> LlmInput | None:
    """Return what the engine is to turn into tokens: in a chat, all messages so far.

    Raises:
        BadPromptError: text and chat are mixed in one session, or there is nothing.
    """
    session, given = job.session, job.given
    if session is None:
        return given
    if given is None:
        if session.messages:
            return LlmInput(messages=session.messages, tools=session.tools)
        if not len(session.ids):
            raise BadPromptError(problem="the session is empty: append something first")
        return None
    if "messages" not in given:
        if session.messages or job.model.kind == "remote":
            raise BadPromptError(problem="this session is a chat: give messages")
        return given
    if len(session.ids) and not session.messages:
        raise BadPromptError(problem="this session holds text: give a prompt or ids")
    whole = LlmInput(messages=[*session.messages, *given["messages"]])
    if tools := given.get("tools") or session.tools:
        whole["tools"] = tools
    return whole


def has_tools(job: Job) -> bool:
    """Say whether the model may call tools."""
    given, session = job.given or LlmInput(), job.session
    return bool(given.get("tools") or (session is not None and session.tools))
