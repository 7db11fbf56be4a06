"""Output that keeps to a JSON schema or a regular expression, by ``llguidance``.

A grammar is compiled once and kept, as long as it is among the youngest; each request runs a
copy of its matcher, which says which tokens may follow and is told which one did.
"""

from __future__ import annotations

from typing import Any

import llguidance
import numpy as np
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask
from numpy.typing import NDArray

from actors.torch_engine.options import Options
from ipc.errors import BadGrammarError, KernelBugError, LLMOSError

MAX_GRAMMARS = 128


class Grammars:
    """See the module head. Used by the preparing thread and the step thread, which both may
    compile: the table of grammars is only ever read and written by single operations."""

    def __init__(self, tokenizer: Any, vocab_size: int, stop_ids: tuple[int, ...]) -> None:
        self._source = tokenizer
        self._vocab_size = vocab_size
        self._stop_ids = stop_ids
        self._tokenizer: Any = None
        self._compiled: dict[tuple[str, str], Any] = {}

    def check(self, options: Options) -> None:
        """Compile the grammar of these options, if they have one.

        Raises:
            BadGrammarError: it cannot be compiled.
        """
        if options.schema or options.regex:
            self._compile(options)

    def matcher(self, options: Options, said: NDArray[np.int32]) -> Any:
        """Return a matcher that has seen the tokens ``said``."""
        matcher = self._compile(options).deep_copy()
        if len(said) and not matcher.consume_tokens(said.tolist()):
            raise refusal(matcher, "what was generated under it")
        return matcher

    def allowed(self, matcher: Any, width: int) -> NDArray[np.bool_]:
        """Return which of ``width`` tokens may come next; at least one may."""
        mask = allocate_token_bitmask(1, self._vocab_size)
        fill_next_token_bitmask(matcher, mask)
        bits = np.unpackbits(mask.view(np.uint8)[0], bitorder="little")
        allowed = np.zeros(width, np.bool_)
        count = min(width, self._vocab_size)
        allowed[:count] = bits[:count]
        if matcher.is_error() or not allowed.any():
            raise BadGrammarError(what="grammar", problem=_problem(matcher) or "no way on")
        return allowed

    def _compile(self, options: Options) -> Any:
        key = (options.schema, options.regex)
        found = self._compiled.get(key)
        if found is not None:
            return found
        what = "schema" if options.schema else "regex"
        if self._source is None:
            raise BadGrammarError(what=what, problem="the model has no tokenizer")
        try:
            if options.schema:
                grammar = llguidance.LLMatcher.grammar_from_json_schema(
                    options.schema, defaults={"whitespace_flexible": False}
                )
            else:
                grammar = llguidance.LLMatcher.grammar_from_regex(options.regex)
            matcher = llguidance.LLMatcher(self._ready_tokenizer(), grammar, log_level=0)
        except ValueError as error:
            raise BadGrammarError(what=what, problem=str(error)) from error
        if matcher.is_error():
            raise BadGrammarError(what=what, problem=matcher.get_error())
        self._try(matcher.deep_copy(), what)
        self._compiled[key] = matcher
        while len(self._compiled) > MAX_GRAMMARS:
            self._compiled.pop(next(iter(self._compiled)), None)
        return matcher

    def _try(self, matcher: Any, what: str) -> None:
        """Take a first token: the library builds its automaton then, and only then says that it
        is too large, after seconds in which the step of all others would stand still."""
        first = np.flatnonzero(self.allowed(matcher, self._vocab_size))[0]
        if not matcher.consume_token(int(first)) and matcher.is_error():
            raise BadGrammarError(what=what, problem=_problem(matcher))

    def _ready_tokenizer(self) -> Any:
        if self._tokenizer is None:
            backend = getattr(self._source, "backend_tokenizer", None)
            if backend is None:
                raise ValueError("grammars need a fast tokenizer")
            self._tokenizer = llguidance.LLTokenizer(
                backend.to_str(), n_vocab=self._vocab_size, eos_token=list(self._stop_ids) or None
            )
        return self._tokenizer


def refusal(matcher: Any, what: str) -> LLMOSError:
    """Return why a matcher has refused tokens that it had allowed. what: names them."""
    if matcher.is_error():  # a limit of the library's; it never leaves that state
        return BadGrammarError(what="grammar", problem=_problem(matcher))
    return KernelBugError(reason=f"the grammar refuses {what}")


def _problem(matcher: Any) -> str:
    """Return the matcher's error without the dump of its state that follows it."""
    return str(matcher.get_error()).split("\n<state>")[0].strip()
