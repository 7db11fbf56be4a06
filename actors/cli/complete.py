"""The command `complete`: one completion by a language model, on standard output as it is made."""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from actors.cli.connection import Where, open_client
from actors.cli.guard import guarded
from actors.cli.llm_options import (
    LogprobsOption,
    MaxTokensOption,
    ModelOption,
    RegexOption,
    SchemaOption,
    SeedOption,
    StopOption,
    TemperatureOption,
    TopKOption,
    TopPOption,
    given,
    read_schema,
)
from actors.cli.options import HomeOption, JsonOption, NameOption
from actors.cli.render import print_json
from ipc.errors import UsageError

if TYPE_CHECKING:
    from actors.llm.completion import Completion, Usage


@guarded
def complete(
    prompt: Annotated[str, typer.Argument(help="The text to go on from; - reads standard input.")],
    model: ModelOption = None,
    max_tokens: MaxTokensOption = None,
    temperature: TemperatureOption = None,
    top_p: TopPOption = None,
    top_k: TopKOption = None,
    seed: SeedOption = None,
    stop: StopOption = None,
    schema: SchemaOption = None,
    regex: RegexOption = None,
    logprobs: LogprobsOption = None,
    timeout: Annotated[
        float | None, typer.Option(metavar="S", min=0, help="Deadline for the whole text.")
    ] = None,
    usage: Annotated[
        bool, typer.Option("--usage", help="Say on standard error what it took.")
    ] = False,
    home: HomeOption = None,
    name: NameOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a language model go on from a text; what it writes is printed as it comes.

    Example: llmos complete - --max-tokens 8 < prompt.txt
    """
    if logprobs is not None and not as_json:
        raise UsageError(reason="--logprobs are shown with --json only")
    options = given(
        model=model,
        max_tokens=max_tokens,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        seed=seed,
        stop=stop,
        schema=read_schema(schema),
        regex=regex,
        logprobs=logprobs,
        deadline=timeout,
    )
    text = sys.stdin.read() if prompt == "-" else prompt
    with open_client(Where(home, name)) as client:
        if as_json:
            print_json(document(client.llm.complete(text, **options)))
            return
        stream = client.llm.stream(text, **options)
        for piece in stream:
            typer.echo(piece, nl=False)
            sys.stdout.flush()
        typer.echo()
    if usage:
        typer.echo(usage_line(stream.completion.usage), err=True)


def document(completion: Completion[Any]) -> dict[str, Any]:
    """Return a completion as JSON shows it."""
    return {key: value for key, value in dataclasses.asdict(completion).items() if value != []}


def usage_line(usage: Usage) -> str:
    """Return in one line what a completion took."""
    pace = ""
    if usage.decode_s:  # what comes at once has none
        pace = f", then {usage.completion_tokens / usage.decode_s:.0f} tokens/s"
    return (
        f"{usage.model}@{usage.version}: {usage.prompt_tokens} tokens read "
        f"({usage.cached_tokens} cached), {usage.completion_tokens} written, "
        f"first after {usage.first_token_s:.2f} s{pace}"
    )
