"""The options of `llmos model add`: one line each, and the spec of a model that they make.

A table, since there are two dozen and all are used alike: an option that was given becomes one
entry of the spec. Which go together is checked by the kernel (kernel/llm/arguments.py); what lies
on this machine, a folder or a file with a key, is looked for here, before anything is said.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

import typer

from ipc.budget import read_amount
from ipc.errors import UsageError


class Dtype(StrEnum):
    """What a model's weights are held as."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


class SpecOption(NamedTuple):
    """One option: the entry of the spec, how the entry is read, and what the help says."""

    key: str
    kind: type
    help: str
    metavar: str | None = None
    least: float | None = None
    flag: str | None = None  # where it is not the key's name
    read: Callable[[Any], Any] = lambda value: value

    @property
    def name(self) -> str:
        """Return the parameter's name."""
        return self.flag or self.key

    def parameter(self) -> inspect.Parameter:
        """Return it as typer reads it from a signature."""
        option = typer.Option(None, metavar=self.metavar, min=self.least, help=self.help)
        keyword, kind = inspect.Parameter.KEYWORD_ONLY, self.kind | None
        return inspect.Parameter(self.name, keyword, default=option, annotation=kind)


def absolute(path: Path) -> str:
    """Return the path of something that is there, as the kernel can use it from elsewhere.

    Raises:
        UsageError: it is not there.
    """
    place = path.expanduser().absolute()
    if not place.exists():
        raise UsageError(reason=f"there is no {place}; nothing was added")
    return str(place)


def mebibytes(value: int) -> int:
    """Return as many bytes."""
    return value << 20


money = functools.partial(read_amount, "money")

OPTIONS = (
    SpecOption("path", Path, "Folder: config, safetensors, tokenizer.", "DIR", read=absolute),
    SpecOption("endpoint", str, "OpenAI-compatible API, http://host:8000/v1.", "URL"),
    SpecOption("driver", str, "An engine of one's own.", "MODULE:CLASS"),
    SpecOption("remote_model", str, "Endpoint: its name for the model.", "NAME"),
    SpecOption("key_env", str, "Endpoint: the kernel's variable that holds the key.", "VARIABLE"),
    SpecOption("key_file", Path, "Endpoint: the file that holds the key.", "FILE", read=absolute),
    SpecOption("dtype", Dtype, "What weights are held as.", read=str),
    SpecOption("device", str, "auto, cpu, cuda, cuda:1 ...", "NAME"),
    SpecOption("engines", int, "Engine processes.", "N", 1),
    SpecOption("threads", int, "CPU threads of each.", "N", 1),
    SpecOption("kv_bytes", int, "Memory for KV blocks; default: what is free.", "MIB", 1,
               flag="kv_mib", read=mebibytes),
    SpecOption("host_kv_bytes", int, "Host memory for requests and contexts out of turn.", "MIB", 1,
               flag="host_kv_mib", read=mebibytes),
    SpecOption("block_size", int, "Tokens of a KV block.", "N", 1),
    SpecOption("max_running", int, "Requests that are computed at once.", "N", 1),
    SpecOption("max_step_tokens", int, "Tokens computed in one step.", "N", 1),
    SpecOption("max_context", int, "Tokens of a request; default: the model's.", "N", 1),
    SpecOption("concurrency", int, "Endpoint: requests at once.", "N", 1),
    SpecOption("requests_per_minute", int, "Endpoint: requests a minute.", "N", 1),
    SpecOption("tokens_per_minute", int, "Endpoint: tokens a minute.", "N", 1),
    SpecOption("timeout_s", float, "Endpoint: silence allowed.", "S", 0.1, flag="timeout"),
    SpecOption("price_in", str, "Of a million tokens of prompts.", "MONEY", read=money),
    SpecOption("price_out", str, "Of a million tokens of completions.", "MONEY", read=money),
)  # fmt: skip
PLACES = ("path", "endpoint", "driver")


def with_spec(command: Callable[..., None]) -> Callable[..., None]:
    """Return the command with these options instead of its parameter ``spec``, made of them.

    The result raises:
        UsageError: not exactly one place was said, or a folder or file is not there.
    """

    @functools.wraps(command)
    def run(**values: Any) -> None:
        given = {option: values.pop(option.name) for option in OPTIONS}
        spec = {option.key: value for option, value in given.items() if value is not None}
        if len([place for place in PLACES if place in spec]) != 1:
            reason = "say where the model is: one of --path, --endpoint and --driver"
            raise UsageError(reason=reason)
        read = {
            option.key: option.read(spec[option.key]) for option in OPTIONS if option.key in spec
        }
        command(spec=read, **values)

    signature = inspect.signature(command, eval_str=True)
    own = [parameter for parameter in signature.parameters.values() if parameter.name != "spec"]
    arguments = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own]
    parameters = [arguments[0], *(option.parameter() for option in OPTIONS), *arguments[1:]]
    vars(run)["__signature__"] = signature.replace(parameters=parameters)
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    return run
