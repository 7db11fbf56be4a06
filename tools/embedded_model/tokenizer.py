"""The tokenizer: byte-level BPE, so that any text has ids and any ids are text.

Words keep the space before them; a digit, a sign and a Chinese character are tokens of their own
(numbers are copied digit by digit, Chinese has no spaces to go by). No token is added at the
beginning: what the text says is what the ids say.

Conversations are ``<|system|>...<|end|><|user|>...<|end|><|assistant|>...<|end|>``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from tools.embedded_model.formats import Exchange

END, PAD = "<|end|>", "<|pad|>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
VOCABULARY = 4608
MAX_CONTEXT = 2048
_PIECES = r"\p{Han}| ?\d| ?[^\s\p{Han}\d\p{P}\p{S}]+| ?[\p{P}\p{S}]|\s"
_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def train_tokenizer(texts: Iterable[str], size: int = VOCABULARY) -> Tokenizer:
    """Learn the merges from texts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[END, PAD, *ROLES],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
        min_frequency=8,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def text_of(exchange: Exchange) -> tuple[str, str]:
    """Return prompt and answer as they stand in the training text, special tokens included."""
    if not exchange.is_chat:
        return exchange.prompt, exchange.answer + END
    system = f"{ROLES[0]}{exchange.system}{END}" if exchange.system else ""
    prompt = f"{system}{ROLES[1]}{exchange.prompt}{END}{ROLES[2]}"
    return prompt, exchange.answer + END


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write the files that ``AutoTokenizer.from_pretrained`` reads."""
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        bos_token=END,
        pad_token=PAD,
        model_max_length=MAX_CONTEXT,
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )
    fast.chat_template = _TEMPLATE
    fast.save_pretrained(folder)
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    settings.pop("backend", None)
    # One file for all releases of transformers: they read the template here too, and the class
    # under this name.
    settings |= {"chat_template": _TEMPLATE, "tokenizer_class": "PreTrainedTokenizerFast"}
    path.write_text(json.dumps(settings, indent=1, ensure_ascii=False) + "\n")
    rules = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps(rules, ensure_ascii=False))
