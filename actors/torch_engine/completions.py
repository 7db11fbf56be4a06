"""From a step's tokens to the kernel's report: texts, stop strings, ends, tool calls.

The text thread's part: it works while the next step is computed. A request that ends here, by a
stop string, may be computed once more; its rows are then -1.

Cost: nothing for a row whose text nobody waits for, until it ends; else see detokeniser.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from actors.torch_engine.detokeniser import Decode, Detokeniser
from actors.torch_engine.slots import Request, Slots
from actors.torch_engine.step import End, StepResult
from actors.torch_engine.stop_strings import find_stop, num_shown
from actors.torch_engine.tool_calls import parse_tool_calls
from ipc.engine import NO_TOKEN, Ended, Failed, Report
from ipc.errors import to_wire


class Text:
    """A completion's text as it grows. ``sent``: how much of it the kernel knows."""

    def __init__(self, request: Request, decode: Decode) -> None:
        self._detokeniser = Detokeniser(decode)
        self._stops = request.options.stop
        self.text = ""
        self.sent = request.sent_chars
        self.num_tokens = 0
        self.is_over = False
        self.is_cut = False  # by a stop string
        for token in request.tokens[request.num_prompt : request.num_known].tolist():
            self.num_tokens += 1
            self.text += self._detokeniser.push(token)

    def push(self, token: int, end: End | None = None) -> None:
        """Take a token and, if the request ends with it, its end."""
        self.num_tokens += 1
        if end is None or not end.is_stop_token:
            self._add(self._detokeniser.push(token))
        if end is not None and not self.is_over:
            self._add(self._detokeniser.flush())
            self.is_over = True

    def take_shown(self) -> str:
        """Return what may be shown and has not been."""
        end = len(self.text) if self.is_over else num_shown(self.text, self._stops)
        shown = self.text[self.sent : end]
        self.sent = max(self.sent, end)
        return shown

    def _add(self, piece: str) -> None:
        before = len(self.text)
        self.text += piece
        if piece and self._stops and (at := find_stop(self.text, self._stops, before)) is not None:
            self.text = self.text[:at]
            self.is_over = self.is_cut = True


def spell(ids: Sequence[int], stops: Sequence[str], decode: Decode) -> str:
    """Return the text of a whole completion, as ``Text`` would have it in the end."""
    detokeniser = Detokeniser(decode)
    text = "".join(map(detokeniser.push, ids)) + detokeniser.flush()
    at = find_stop(text, stops, 0)
    return text if at is None else text[:at]


class Completions:
    """See the module head."""

    def __init__(self, decode: Decode, slots: Slots) -> None:
        self._decode = decode
        self._slots = slots

    def report(self, result: StepResult) -> Report:
        """Return the kernel's report of a step. Steps come in order."""
        tokens, ends = result.tokens.astype("<i4"), {end.row: end for end in result.ends}
        texts: list[list[Any]] = []
        ended: list[Ended] = []
        late: list[Request] = []
        for row in sorted({*result.text_rows, *ends}):
            request, end = result.requests[row], ends.get(row)
            assert request is not None
            if request.text is not None and request.text.is_over:
                tokens[row] = NO_TOKEN
                late.append(request)
                continue
            text = self._advance(request, int(tokens[row]), end)
            if request.is_streamed and (shown := text.take_shown()):
                texts.append([request.slot, shown])
            if text.is_over:
                ended.append(_ended(request, text, end))
                if end is None:
                    self._slots.overs.append(request)
        report = Report(plan=result.plan, step_ns=result.step_ns, idle_ns=result.idle_ns)
        if len(tokens):
            report["tokens"] = tokens.tobytes()
        if texts:
            report["texts"] = texts
        if logprobs := [[r.slot, entry] for r, entry in result.logprobs if r not in late]:
            report["logprobs"] = logprobs
        if ended:
            report["ended"] = ended
        if result.failed:
            report["failed"] = [
                Failed(slot=r.slot, error=to_wire(error)) for r, error in result.failed
            ]
        return report

    def _advance(self, request: Request, token: int, end: End | None) -> Text:
        if request.text is not None:
            text: Text = request.text
        else:
            text = request.text = Text(request, self._decode)
            if not request.needs_text:  # it was asked for nothing until now, its end
                assert end is not None
                last = request.num_prompt + end.num_tokens - 1
                for known in request.tokens[request.num_known : last].tolist():
                    text.push(known)
        text.push(token, end)
        return text


def _ended(request: Request, text: Text, end: End | None) -> Ended:
    reason: Any = "stop" if text.is_cut or end is None else end.reason
    ended = Ended(slot=request.slot, reason=reason, text=text.text, tokens=text.num_tokens)
    if request.has_tools and reason == "stop":
        calls = parse_tool_calls(text.text, request.number)
        if calls:
            ended["reason"], ended["tool_calls"] = "tool_calls", calls
    return ended
