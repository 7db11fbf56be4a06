"""Commands about language models: what they ask of the kernel, and what they print."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from actors.cli.exits import Exit
from ipc.errors import BadModelError, ModelInUseError, UnknownModelError, to_wire
from tests.actors.cli.fake import Terminal
from tests.actors.llm.wire import completion


def model(name: str, version: int = 1, **fields: Any) -> dict[str, Any]:
    """Return one line of ``models``."""
    return {
        "name": name,
        "version": version,
        "kind": "torch",
        "location": f"/models/{name}",
        "is_default": False,
        "state": "ready",
        "engines": 1,
        "sessions": 0,
        "served": {"completions": 1200},
        "facts": {"parameters": 5_000_000, "max_context": 2048},
        "error": None,
        **fields,
    }


def engine(number: int = 21, **fields: Any) -> dict[str, Any]:
    """Return one engine of ``llm_status``."""
    return {
        "actor": number,
        "name": "engine.small.1",
        "model": "small",
        "version": 1,
        "state": "ready",
        "waiting": 3,
        "running": 2,
        "blocks": 200,
        "blocks_used": 50,
        "blocks_cached": 20,
        "generated_tokens": 0,
        "prompt_tokens": 400,
        "cached_tokens": 100,
        "steps": 9,
        "preemptions": 1,
        "demoted_blocks": 30,
        "promoted_blocks": 10,
        "step_ns": 2_500_000,
        **fields,
    }


def owner(**fields: Any) -> dict[str, Any]:
    """Return one owner of ``llm_status``."""
    return {
        "actor": 12,
        "name": "hits",
        "waiting": 1,
        "running": 1,
        "blocks": 40,
        "generated_tokens": 160,
        **fields,
    }


KERNEL = {
    "pid": 1,
    "started_wall_ns": 0,
    "running": 1,
    "pending_messages": 0,
    "dead_letters": 0,
    "rss_bytes": 1 << 20,
}


def test_a_folder_becomes_a_model(llmos: Terminal, tmp_path: Path) -> None:
    llmos.client.answers["model_add"] = model("small", 2)

    result = llmos("model", "add", "small", "--path", str(tmp_path), "--dtype", "bfloat16",
                   "--kv-mib", "64", "--engines", "2")  # fmt: skip

    assert result.exit_code == 0, result.output
    assert result.stdout == "small@2 is there; `llmos model load small` loads it\n"
    assert llmos.client.calls == [
        (
            "model_add",
            {
                "spec": {
                    "name": "small",
                    "path": str(tmp_path),
                    "dtype": "bfloat16",
                    "engines": 2,
                    "kv_bytes": 64 << 20,
                }
            },
        )
    ]


def test_an_endpoint_becomes_a_model_in_use(llmos: Terminal) -> None:
    llmos.client.answers["model_add"] = model("far", kind="remote")
    llmos.client.answers["model_use"] = model("far", kind="remote", is_default=True)

    llmos("model", "add", "far", "--endpoint", "http://h:1/v1", "--key-env", "KEY",
          "--requests-per-minute", "60", "--timeout", "5", "--price-in", "0.15",
          "--price-out", "60", "--use")  # fmt: skip

    (_, added), used = llmos.client.calls
    assert added["spec"] == {
        "name": "far",
        "endpoint": "http://h:1/v1",
        "key_env": "KEY",
        "requests_per_minute": 60,
        "timeout_s": 5.0,
        "price_in": 150_000,
        "price_out": 60_000_000,
    }
    assert used == ("model_use", {"name": "far", "version": 1})


@pytest.mark.parametrize(
    "words", [["--path", "nowhere"], ["--endpoint", "http://h/v1", "--key-file", "nowhere"]]
)
def test_what_is_not_on_this_machine_is_refused_before_anything_is_said(
    llmos: Terminal, words: list[str]
) -> None:
    result = llmos("model", "add", "x", *words)

    assert result.exit_code == Exit.USAGE
    assert "nowhere" in result.stderr
    assert llmos.client.calls == []


@pytest.mark.parametrize("words", [[], ["--path", "a", "--endpoint", "http://h"]])
def test_a_model_is_in_one_place(llmos: Terminal, words: list[str]) -> None:
    result = llmos("model", "add", "x", *words)

    assert result.exit_code == Exit.USAGE
    assert llmos.client.calls == []


def test_ls_shows_the_one_in_use_and_why_one_failed(llmos: Terminal) -> None:
    error = to_wire(BadModelError(model="odd", location="/models/odd", problem="no config.json"))
    llmos.client.answers["models"] = [
        model("small", 2, is_default=True, sessions=4),
        model("odd", state="failed", engines=0, facts={}, error=error),
        model("big", state="loading", engines=0, facts={"progress": 0.4}),
    ]

    result = llmos("model", "ls")

    heading, small, odd, big = result.stdout.splitlines()
    assert heading.split()[:3] == ["MODEL", "KIND", "STATE"]
    assert small.split() == ["*", "small@2", "torch", "ready", "1", "4", "1,200", "5.0M", "2048",
                             "/models/small"]  # fmt: skip
    assert "failed" in odd
    assert "loading 40%" in big
    assert "odd@1: model 'odd' at /models/odd: no config.json" in result.stderr
    assert json.loads(llmos("model", "ls", "--json").stdout) == llmos.client.answers["models"]


def test_load_waits_until_the_engine_is_ready(llmos: Terminal) -> None:
    llmos.client.answers["models"] = [model("small", state="loading")]
    llmos.client.answers["model_load"] = model("small")

    assert llmos("model", "load", "small@1").stdout == "small@1 is ready on 1 engine\n"
    assert ("model_load", {"name": "small", "version": 1}) in llmos.client.calls


def test_a_model_that_cannot_be_loaded_says_why(llmos: Terminal) -> None:
    error = BadModelError(model="small", location="/models/small", problem="no config.json")
    llmos.client.answers["model_load"] = error

    result = llmos("model", "load", "small")

    assert result.exit_code == Exit.USAGE
    assert "no config.json" in result.stderr


def test_rm_names_a_version_and_refuses_what_is_in_use(llmos: Terminal) -> None:
    llmos.client.answers["model_remove"] = {}
    assert llmos("model", "rm", "small@3").stdout == "removed small@3\n"

    llmos.client.answers["model_remove"] = ModelInUseError(model="small", users="2 sessions")
    refused = llmos("model", "rm", "small")

    assert refused.exit_code == Exit.USAGE
    assert "2 sessions" in refused.stderr
    assert [arguments for _, arguments in llmos.client.calls] == [
        {"name": "small", "version": 3},
        {"name": "small"},
    ]


def test_an_unknown_model_is_not_found(llmos: Terminal) -> None:
    llmos.client.answers["model_use"] = UnknownModelError(name="smal", known="small")

    result = llmos("model", "use", "smal")

    assert result.exit_code == Exit.NOT_FOUND
    assert "llmos model ls" in result.stderr


def test_complete_prints_pieces_and_what_it_took(llmos: Terminal) -> None:
    llmos.client.answers["llm_generate"] = ["Hel", "lo"]

    result = llmos("complete", "Say it", "--model", "small", "--max-tokens", "9",
                   "--stop", "a", "--stop", "b", "--usage")  # fmt: skip

    ((_, arguments),) = llmos.client.calls
    assert result.stdout == "Hello\n"
    assert "small@3: 12 tokens read (4 cached), 2 written" in result.stderr
    assert arguments["input"] == {"prompt": "Say it"}
    assert arguments["model"] == "small"
    assert arguments["sampling"] == {"max_tokens": 9, "stop": ["a", "b"]}


def test_complete_with_json_prints_the_whole_completion(llmos: Terminal) -> None:
    llmos.client.answers["llm_generate"] = completion("Hello")

    document = json.loads(llmos("complete", "Say it", "--json").stdout)

    assert document["text"] == "Hello"
    assert document["usage"]["cached_tokens"] == 4
    assert document["ids"] == [7, 8]


def test_complete_refuses_bad_sampling_before_anything_is_sent(llmos: Terminal) -> None:
    result = llmos("complete", "x", "--top-p", "0.5")

    assert result.exit_code == Exit.USAGE
    assert "temperature" in result.stderr
    assert llmos.client.calls == []


def test_complete_holds_the_text_to_a_schema_in_a_file(llmos: Terminal, tmp_path: Path) -> None:
    llmos.client.answers["llm_generate"] = ["[1]"]
    schema = {"type": "array", "items": {"type": "integer"}}
    (tmp_path / "list.json").write_text(json.dumps(schema))

    llmos("complete", "Numbers:", "--schema", str(tmp_path / "list.json"))

    ((_, arguments),) = llmos.client.calls
    assert arguments["sampling"] == {"schema": schema}


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--schema", "nowhere.json"], "nowhere.json is no JSON schema"),
        (["--schema", __file__], "is no JSON schema"),
        (["--logprobs", "2"], "--json"),
    ],
)
def test_complete_refuses_what_cannot_be_held_to_or_shown(
    llmos: Terminal, words: list[str], problem: str
) -> None:
    result = llmos("complete", "x", *words)

    assert result.exit_code == Exit.USAGE
    assert problem in result.stderr
    assert llmos.client.calls == []


def test_top_shows_engines_and_who_keeps_them_busy(llmos: Terminal) -> None:
    looks = iter([engine(generated_tokens=100), engine(generated_tokens=160)])
    llmos.client.answers["llm_status"] = lambda: {"engines": [next(looks)], "owners": [owner()]}
    llmos.client.answers["status"] = KERNEL

    lines = llmos("top", "-n", "1", "-i", "0.1").stdout.splitlines()

    at = next(index for index, line in enumerate(lines) if line.startswith("ENGINE"))
    assert lines[at + 1].startswith("engine.small.1  small@1  ready")
    assert "25%" in lines[at + 1]  # of the blocks, and of the tokens read
    assert "50/200" in lines[at + 1]
    assert "2.5 ms" in lines[at + 1]
    asks = next(line for line in lines if "hits" in line and "160" in line)
    assert "20%" in asks  # 40 of 200 blocks
