"""llama.cpp beside the torch engine: the same random Llama, the same requests.

Question: how many output tokens a second does its library give where ours gives so many? It is
called as suits it best: prompts in calls of their own, then a token of every request that runs in
each call (decodes and prompts mixed, as ours are, gave 0.87 of that; without its flash attention
0.88). fp32 weights, greedy, as many threads as there are CPUs; no text is made. It keeps keys and
values in fp16, as it does by default; ours are in fp32.

What it is not: a dependency. Two packages must be there, ``llama-cpp-python`` and ``gguf``
(bench/README.md says how); without them the peer is left out, with a line that says so.

Run: python -m bench.llm_peer [small|medium] [--check]
--check: say how many of the first requests' tokens are those of ``generate``, and take no time.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.llm_workload import CONTEXT, STEP_TOKENS, Work, make_model, workload

NAME = "llama.cpp"
NEEDED = ("llama_cpp", "gguf")
CHECKED = 4  # requests of --check


def missing() -> list[str]:
    """Return the packages that are not installed."""
    return [name for name in NEEDED if importlib.util.find_spec(name) is None]


def run(size: str) -> float:
    """Serve all requests; return output tokens a second."""
    model = make_model(size, "eager")
    works = workload(model.config.vocab_size)
    with tempfile.TemporaryDirectory() as folder:
        peer = Peer(write_gguf(model, Path(folder) / "model.gguf"), works)
    peer.serve(works[:4])
    began = time.perf_counter()
    peer.serve(works)
    return sum(work.output for work in works) / (time.perf_counter() - began)


def check(size: str) -> float:
    """Return the share of tokens that are those of ``generate``: rounding may part the ways."""
    import torch  # heavy, and only of use in the measuring process

    model = make_model(size, "eager")
    works = workload(model.config.vocab_size)[:CHECKED]
    with tempfile.TemporaryDirectory() as folder:
        peer = Peer(write_gguf(model, Path(folder) / "model.gguf"), works)
    found, same = peer.serve(works), 0
    for work, tokens in zip(works, found, strict=True):
        ids = torch.tensor([work.ids])
        options = {"min_new_tokens": work.output, "max_new_tokens": work.output, "pad_token_id": 0}
        whole = model.generate(ids, do_sample=False, **options)
        same += sum(a == b for a, b in zip(whole[0, len(work.ids) :].tolist(), tokens, strict=True))
    return same / sum(work.output for work in works)


def write_gguf(model: Any, path: Path) -> Path:
    """Write a Llama of ``transformers`` as llama.cpp reads it, in fp32, without a tokenizer."""
    import gguf  # optional

    config = model.config
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.hidden_size // heads)
    writer.add_rope_freq_base(rope_base(config))
    writer.add_tokenizer_model("no_vocab")
    for name, tensor in model.named_parameters():
        data = tensor.detach().numpy()
        if name.endswith("q_proj.weight"):
            data = interleaved(data, heads)
        elif name.endswith("k_proj.weight"):
            data = interleaved(data, kv_heads)
        writer.add_tensor(gguf_name(name), data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def rope_base(config: Any) -> float:
    """Return the base of the rotary positions, where this release of the library keeps it."""
    parameters = getattr(config, "rope_parameters", None) or {}
    return float(parameters.get("rope_theta") or config.rope_theta)


def interleaved(weight: Any, heads: int) -> Any:
    """Order a projection's rows as llama.cpp rotates them: pairs side by side, not in halves."""
    halves = weight.reshape(heads, 2, weight.shape[0] // heads // 2, weight.shape[1])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(weight.shape))


PARTS = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def gguf_name(name: str) -> str:
    """Return what llama.cpp calls a weight."""
    if name == "model.embed_tokens.weight":
        return "token_embd.weight"
    if name == "model.norm.weight":
        return "output_norm.weight"
    _, _, layer, part = name.removesuffix(".weight").split(".", 3)
    return f"blk.{layer}.{PARTS[part]}.weight"


class Peer:
    """A loaded model, and room for the keys and values of all requests at once."""

    def __init__(self, path: Path, works: list[Work]) -> None:
        import llama_cpp  # optional

        self._api = api = llama_cpp
        self._quiet = api.llama_log_callback(lambda *_: None)  # kept: the library calls it
        api.llama_log_set(self._quiet, None)
        api.llama_backend_init()
        model = api.llama_model_load_from_file(str(path).encode(), api.llama_model_default_params())
        params = api.llama_context_default_params()
        params.n_seq_max = len(works)
        params.n_ctx = len(works) * CONTEXT
        params.n_batch = params.n_ubatch = STEP_TOKENS
        params.n_threads = params.n_threads_batch = len(os.sched_getaffinity(0))
        self._context = api.llama_init_from_model(model, params)
        if not self._context:
            raise RuntimeError(f"{NAME} cannot make a context of {params.n_ctx} tokens")
        self._vocab = api.llama_vocab_n_tokens(api.llama_model_get_vocab(model))
        self._batch = batch = api.llama_batch_init(STEP_TOKENS, 0, 1)
        rows = (STEP_TOKENS,)
        self._tokens = np.ctypeslib.as_array(batch.token, rows)
        self._positions = np.ctypeslib.as_array(batch.pos, rows)
        self._wanted = np.ctypeslib.as_array(batch.logits, rows)
        np.ctypeslib.as_array(batch.n_seq_id, rows)[:] = 1
        self._sequences = [batch.seq_id[row] for row in range(STEP_TOKENS)]

    def serve(self, works: list[Work]) -> list[list[int]]:
        """Compute all requests: prompts one by one, then a token of each a step; return these."""
        api = self._api
        api.llama_memory_clear(api.llama_get_memory(self._context), False)
        found: list[list[int]] = []
        for sequence, work in enumerate(works):
            self._put(0, sequence, 0, work.ids)
            found.append(self._compute(len(work.ids), 1))
        while True:
            running = [at for at, work in enumerate(works) if len(found[at]) < work.output]
            if not running:
                return found
            for row, at in enumerate(running):
                position = len(works[at].ids) + len(found[at]) - 1
                self._put(row, at, position, found[at][-1:])
            tokens = self._compute(len(running), len(running))
            for at, token in zip(running, tokens, strict=True):
                found[at].append(token)

    def _compute(self, size: int, num_sampled: int) -> list[int]:
        """Compute the rows that were put; return the likeliest tokens after those sampled."""
        self._batch.n_tokens = size
        if self._api.llama_decode(self._context, self._batch):
            raise RuntimeError(f"{NAME} cannot compute a batch of {size} tokens")
        rows = self._api.llama_get_logits(self._context)
        logits = np.ctypeslib.as_array(rows, (num_sampled, self._vocab))
        tokens: list[int] = logits.argmax(1).tolist()
        return tokens

    def _put(self, row: int, sequence: int, position: int, tokens: list[int]) -> None:
        """Give rows to a sequence's next tokens, of which the last is sampled."""
        end = row + len(tokens)
        self._tokens[row:end] = tokens
        self._positions[row:end] = range(position, position + len(tokens))
        self._wanted[row:end] = 0
        self._wanted[end - 1] = 1
        for pointer in self._sequences[row:end]:
            pointer[0] = sequence


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("size", nargs="?", default="small", choices=["small", "medium"])
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    if absent := missing():
        parser.exit(
            2, f"{NAME} is left out: pip install llama-cpp-python gguf ({absent} missing)\n"
        )
    print(check(args.size) if args.check else run(args.size))


if __name__ == "__main__":
    main()
