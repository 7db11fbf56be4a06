"""Which language model a demo uses: the embedded one, one in a folder, or an endpoint.

It is put in use in the demo's own kernel only. What is missing for it is found before any process
is started, and said with the way to get it.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from actors import embedded_model
from ipc.errors import UsageError
from ipc.llm import EMBEDDED_MODEL, ModelSpec

if TYPE_CHECKING:
    from actors.client import Client

NAME = "demo"  # under which a model that was given is added
ENGINE_NEEDS = ("torch", "transformers")
REMOTE_NEEDS = ("httpx",)


def demo_model(
    model: Path | None,
    endpoint: str | None,
    remote_model: str | None = None,
    key_env: str | None = None,
) -> ModelSpec | None:
    """Return the model that the options name; None: the embedded one.

    Raises:
        UsageError: they name two, or say of an endpoint what is none.
    """
    if endpoint is None:
        if remote_model is not None or key_env is not None:
            raise UsageError(reason="--remote-model and --key-env are of an --endpoint: give it")
        if model is None:
            return None
        return ModelSpec(name=NAME, path=str(model.expanduser().resolve()))
    if model is not None:
        raise UsageError(reason="say where the model is: --model or --endpoint, not both")
    spec = ModelSpec(name=NAME, endpoint=endpoint)
    if remote_model is not None:
        spec["remote_model"] = remote_model
    if key_env is not None:
        spec["key_env"] = key_env
    return spec


def missing_for_service(spec: ModelSpec | None) -> str | None:
    """Return what is missing for this model and how to get it; None: it can run."""
    is_remote = spec is not None and "endpoint" in spec
    needs, extra = (REMOTE_NEEDS, "remote") if is_remote else (ENGINE_NEEDS, "engine")
    missing = [name for name in needs if find_spec(name) is None]
    if missing:
        return f"{' and '.join(missing)} not installed: pip install 'llmos[{extra}]'"
    if spec is None and not (embedded_model.PATH / "config.json").is_file():
        return "this installation is without the embedded model: give another by --model"
    return None


def use_model(client: Client, spec: ModelSpec | None) -> str:
    """Put the model in use; return its name."""
    if spec is None:
        return EMBEDDED_MODEL
    name: str = client.system("model_add", spec=spec)["name"]
    client.system("model_use", name=name)
    return name
