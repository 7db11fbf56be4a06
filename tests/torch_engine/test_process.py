"""The engine as a process of a real kernel: what it computes survives its death."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from actors import connect
from ipc.errors import BadModelError, BadPromptError, SamplingError
from tests.chaos.kernel_process import STRUCK, KernelProcess, kill_pid, running_kernel
from tests.torch_engine.models import greedy, reference_model
from tests.torch_engine.test_completions import engine as _spoken
from tests.torch_engine.tokenizers_made import byte_level

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PROMPTS = ["the fox", "lazy dog jumps", "Größe 狐"]
OUTPUT = 200  # long enough to be killed in the middle


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    assert _spoken  # it names the model
    path = tmp_path_factory.mktemp("spoken")
    reference_model("spoken").save_pretrained(path)
    byte_level().save_pretrained(path)
    return path


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[KernelProcess]:
    # The context of a chat that ends with a call of a tool is not held: all blocks must come free.
    with running_kernel(tmp_path, **STRUCK, llm_hold_s=0) as process:
        yield process


def expected(prompt: str) -> str:
    ids = byte_level()(prompt)["input_ids"]
    tokens = greedy("spoken", ids, OUTPUT)
    tokens = tokens[: tokens.index(2)] if 2 in tokens else tokens
    return str(byte_level().decode(tokens, skip_special_tokens=True))


def look(x: int) -> int:
    """Look it up."""
    return x


def engine_pid(client: Any) -> int:
    (line,) = [line for line in client.system("ps") if line["name"].startswith("engine.")]
    return int(line["pid"])


def test_completions_are_those_of_generate_also_when_the_engine_is_killed_on_the_way(
    kernel: KernelProcess, folder: Path
) -> None:
    with connect(home=str(kernel.home)) as client:
        client.system("model_add", spec={"name": "spoken", "path": str(folder)})
        client.system("model_use", name="spoken")

        undisturbed = [client.llm.complete(p, max_tokens=OUTPUT).text for p in PROMPTS]
        pieces: list[str] = []
        for piece in client.llm.stream(PROMPTS[0], max_tokens=OUTPUT):
            if not pieces:
                kill_pid(engine_pid(client))
            pieces.append(str(piece))
        with pytest.raises(BadPromptError) as bad:
            client.llm.complete("", max_tokens=4)
        with pytest.raises(SamplingError) as worse:
            client.llm.complete("a", temperature=-1.0)

        call = r'<tool_call>\{"name": "look", "arguments": \{"x": [0-9]\}\}</tool_call>'
        asked = [{"role": "user", "content": "fox"}]
        chat = client.llm.chat(asked, tools=[look], regex=call, max_tokens=120)

        assert [tool.name for tool in chat.tool_calls] == ["look"]
        assert chat.finish_reason == "tool_calls"
        assert undisturbed == [expected(prompt) for prompt in PROMPTS]
        assert "".join(pieces) == undisturbed[0]
        assert bad.value.code == 118
        assert worse.value.code == 120
        status = client.system("llm_status")
        assert [engine["blocks_used"] for engine in status["engines"]] == [0]


def test_a_model_that_cannot_be_loaded_is_a_typed_error_to_who_asks_for_it(
    kernel: KernelProcess, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    with connect(home=str(kernel.home)) as client:
        client.system("model_add", spec={"name": "none", "path": str(tmp_path / "empty")})

        with pytest.raises(BadModelError, match=r"no config\.json"):
            client.llm.complete("hello", model="none")
