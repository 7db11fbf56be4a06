"""Arguments of agents as people type them: ``key=value`` and positional values.

A value is JSON if it parses as JSON, else the text itself: ``5`` is a number, ``'"5"'`` is
text, ``hello`` is text, ``[1,2]`` a list. ``@path`` reads the text of a file (``@-``: standard
input), ``@@x`` is the text ``@x``. Only a Python identifier before ``=`` makes a key.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from ipc.errors import SchemaError

_KEYWORD = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)


def parse_arguments(words: list[str]) -> tuple[list[Any], dict[str, Any]]:
    """Return positional and keyword arguments.

    Raises:
        SchemaError: a key is given twice, or a positional value follows a key.
    """
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for word in words:
        match = _KEYWORD.fullmatch(word)
        if match is None:
            _refuse(bool(kwargs), word, "a value without a key cannot follow one with a key")
            args.append(parse_value(word))
        else:
            key, text = match.groups()
            _refuse(key in kwargs, word, f"the key {key!r} is given twice")
            kwargs[key] = parse_value(text)
    return args, kwargs


def parse_value(text: str) -> Any:
    """Return the value a word stands for; see the module head."""
    if text.startswith("@@"):
        return text[1:]
    if text.startswith("@"):
        return _read(text[1:])
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # the latter: no message could hold it either
        return text


def parse_environment(words: list[str]) -> dict[str, str]:
    """Return ``KEY=VALUE`` words as a dict of texts.

    Raises:
        SchemaError: a word is not of that form.
    """
    pairs = {}
    for word in words:
        key, sign, value = word.partition("=")
        _refuse(not sign or not key, word, "give it as KEY=VALUE")
        pairs[key] = value
    return pairs


def agent_key(word: str) -> int | str:
    """Return an agent's id if the word is a number, else its name."""
    return int(word) if word.isdecimal() else word


def _read(path: str) -> str:
    try:
        return sys.stdin.read() if path == "-" else Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise SchemaError(where=f"@{path}", problem=str(error)) from None


def _refuse(is_wrong: bool, word: str, problem: str) -> None:
    if is_wrong:
        raise SchemaError(where=f"argument {word!r}", problem=problem)
