"""Make the embedded model: tokenizer, training, export.

Run: python -m tools.embedded_model.train --out actors/embedded_model --work build/embedded_model

The work folder holds the log and the checkpoint; called again with the same settings, the run
goes on from there. The result is written only at the end.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import fields
from itertools import chain
from pathlib import Path
from random import Random

import torch
from tokenizers import Tokenizer
from torch import distributed
from torch.multiprocessing.spawn import spawn
from transformers import GenerationConfig, LlamaForCausalLM

from tools.embedded_model.corpus import draw
from tools.embedded_model.stories import VOCABULARY
from tools.embedded_model.ticket_phrases import CITIES, PRODUCTS
from tools.embedded_model.tokenizer import END, PAD, save_tokenizer, train_tokenizer
from tools.embedded_model.training import Settings, train
from tools.embedded_model.translation import LEXICON

TOKENIZER_EXCHANGES = 60_000
LEXICON_WEIGHT = 250


def corpus_tokenizer(seed: int) -> Tokenizer:
    """Train the tokenizer on the first exchanges of a stream of its own."""
    random = Random(f"{seed} tokenizer")
    exchanges = (draw(random) for _ in range(TOKENIZER_EXCHANGES))
    texts = (f"{one.prompt}{one.answer}" for one in exchanges)
    return train_tokenizer(chain(lexicon_lines(), texts))


def shared_tokenizer(settings: Settings, rank: int, path: Path) -> Tokenizer:
    """Return the tokenizer that the first process, or the first run, trained."""
    if rank == 0 and not path.exists():
        corpus_tokenizer(settings.seed).save(str(path))
    distributed.barrier()
    return Tokenizer.from_file(str(path))


def lexicon_lines() -> list[str]:
    """Return every word of the grammars some times over, so that rare ones become tokens too."""
    words = [word for words in LEXICON.values() for word in words]
    lines = [f" {word.classifier}{word.chinese} {' '.join(word.english)}" for word in words]
    lines += [f" {word} {word.title()}" for word in VOCABULARY]
    lines += [f" {name}" for name in (*PRODUCTS, *CITIES)]
    return lines * LEXICON_WEIGHT


def export(model: LlamaForCausalLM, tokenizer: Tokenizer, folder: Path) -> None:
    """Write the model folder with 16-bit weights."""
    folder.mkdir(parents=True, exist_ok=True)
    end, pad = tokenizer.token_to_id(END), tokenizer.token_to_id(PAD)
    model.generation_config = GenerationConfig(
        do_sample=False, eos_token_id=end, bos_token_id=end, pad_token_id=pad, max_new_tokens=200
    )
    model.half().save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    save_tokenizer(tokenizer, folder)


def main() -> None:
    """Read the settings from the command line and make the model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    for setting in fields(Settings):
        kind = type(setting.default)
        parser.add_argument(
            f"--{setting.name.replace('_', '-')}", type=kind, default=setting.default
        )
    args = parser.parse_args()

    args.work.mkdir(parents=True, exist_ok=True)
    settings = Settings(**{item.name: getattr(args, item.name) for item in fields(Settings)})
    meeting = args.work / "meeting"
    meeting.unlink(missing_ok=True)
    spawn(work, args=(settings, meeting, args.work, args.out), nprocs=settings.workers)


def work(rank: int, settings: Settings, meeting: Path, folder: Path, out: Path) -> None:
    """Be one of the training processes; the first writes log, checkpoints and result."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{meeting.resolve()}", rank=rank, world_size=settings.workers
    )
    started = time.monotonic()
    with (folder / "log.txt").open("a", buffering=1) as log:

        def report(line: str) -> None:
            if rank == 0:
                log.write(f"{time.monotonic() - started:7.0f} s  {line}\n")

        report(f"{settings}")
        tokenizer = shared_tokenizer(settings, rank, folder / "tokenizer.json")
        report(f"tokenizer of {tokenizer.get_vocab_size()} tokens")
        model = train(settings, tokenizer, folder, rank, report)
        if rank == 0:
            export(model, tokenizer, out)
        report(f"wrote {sum(weight.numel() for weight in model.parameters())} parameters")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
