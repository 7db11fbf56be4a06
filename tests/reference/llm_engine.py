"""An engine that computes nothing and checks everything: the oracle of the LLM scheduler.

It carries plans out by ipc/engine.py on pretend blocks. Where a real engine stores keys and values
of a token, it stores the chained hash of all tokens up to it. Each computed token first looks at
every earlier one through the block table: a wrong table, a stale or overwritten block, a missing
copy, a prefix of somebody else, all show as a wrong hash.

The next token is a hash of the prefix and the seed; so is whether the request ends or fails there.
`expected` gives the same without any engine, so results can be compared with an undisturbed run.

Any breach of the contract raises `ContractError`: the scheduler is wrong, or the contract is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ipc.engine import NO_TOKEN, NewRequest, Plan, Report
from ipc.llm import Sampling

FAILURE = {"code": 900, "fields": {"reason": "non-finite logits"}}
POISON = -7  # what a skipped request leaves behind in its blocks


class ContractError(AssertionError):
    """A plan that cannot be carried out as it stands."""


def chain(before: int, token: int) -> int:
    return hash((before, int(token)))


def root(extra_key: int) -> int:
    return hash((0x5EED, extra_key))


@dataclass(frozen=True)
class Nature:
    """What the pretend model does: its vocabulary, and one in how many tokens ends or fails."""

    vocab_size: int = 50
    one_in_ends: int = 0  # 0: never
    one_in_fails: int = 0

    def next_token(self, prefix: int, seed: int) -> int:
        return hash((prefix, seed, 3)) % self.vocab_size

    def ends(self, prefix: int) -> bool:
        return bool(self.one_in_ends) and hash((prefix, 1)) % self.one_in_ends == 0

    def fails(self, prefix: int) -> bool:
        return bool(self.one_in_fails) and hash((prefix, 2)) % self.one_in_fails == 0


def text_of(tokens: list[int]) -> str:
    return "".join(chr(97 + token % 26) for token in tokens)


def expected(
    nature: Nature, prompt: list[int], sampling: Sampling, extra_key: int, max_tokens: int
) -> tuple[list[int], str]:
    """Return the tokens of an undisturbed run, and how it ends: stop, length or failed."""
    prefix = root(extra_key)
    for token in prompt:
        prefix = chain(prefix, token)
    tokens: list[int] = []
    while True:
        if nature.fails(prefix):
            return tokens, "failed"
        tokens.append(nature.next_token(prefix, sampling["seed"]))
        prefix = chain(prefix, tokens[-1])
        if nature.ends(prefix):
            return tokens, "stop"
        if len(tokens) == max_tokens:
            return tokens, "length"


@dataclass
class Slot:
    """A request as the engine knows it. hashes: of its tokens, chained."""

    request: int
    ids: list[int]
    num_prompt: int
    sampling: Sampling
    stream: bool
    sent_chars: int
    table: list[int]
    extra_key: int
    is_over: bool = False
    hashes: list[int] = field(default_factory=list)

    def know(self, token: int) -> None:
        before = self.hashes[-1] if self.hashes else root(self.extra_key)
        self.hashes.append(chain(before, token))

    @property
    def emitted(self) -> list[int]:
        return self.ids[self.num_prompt :]


def ints(data: bytes | None, width: int) -> list[list[int]]:
    values = np.frombuffer(data or b"", "<i4")
    return values.reshape(-1, width).tolist()


def require(condition: bool, text: str) -> None:
    if not condition:
        raise ContractError(text)


class ModelEngine:
    """See the module head. extra_keys: by request; the test tells what no plan says."""

    def __init__(self, facts: dict[str, Any], nature: Nature, extra_keys: dict[int, int]) -> None:
        self.facts = facts
        self.nature = nature
        self.extra_keys = extra_keys
        self.size = facts["block_size"]
        self.device = [[0] * self.size for _ in range(facts["num_blocks"])]
        self.host = [[0] * self.size for _ in range(facts.get("num_host_blocks", 0))]
        self.slots: dict[int, Slot] = {}
        self.decoding: set[int] = set()
        self.next_plan = 1
        self.computed_tokens = 0
        self.forwards: list[int] = []  # tokens of each step

    def carry_out(self, plan: Plan) -> Report:
        """Do one step and report it."""
        require(plan["plan"] == self.next_plan, "plans are numbered without gaps")
        require(bool(plan.get("reset")) == (self.next_plan == 1), "the first plan resets")
        self.next_plan += 1
        self._drop(plan)
        self._copy(plan)
        for new in plan.get("add", []):
            self._add(new)
        for slot, block in ints(plan.get("blocks"), 2):
            self._slot(slot).table.append(block)
        self._switch(plan)
        rows = self._forward(plan)
        return self._sample(plan["plan"], rows)

    def _slot(self, slot: int) -> Slot:
        require(slot in self.slots, f"slot {slot} is empty")
        return self.slots[slot]

    def _drop(self, plan: Plan) -> None:
        for (slot,) in ints(plan.get("drop"), 1):
            self._slot(slot)
            del self.slots[slot]
            self.decoding.discard(slot)

    def _copy(self, plan: Plan) -> None:
        for device, host in ints(plan.get("copy_out"), 2):
            self.host[host] = list(self.device[device])
        for host, device in ints(plan.get("copy_in"), 2):
            self.device[device] = list(self.host[host])
        for source, target in ints(plan.get("copy"), 2):
            self.device[target] = list(self.device[source])

    def _add(self, new: NewRequest) -> None:
        slot = new["slot"]
        require(0 <= slot < self.facts["max_running"], f"slot {slot} does not exist")
        require(slot not in self.slots, f"slot {slot} is taken")
        ids = np.frombuffer(new["ids"], "<i4").tolist()
        made = Slot(
            new["request"],
            ids,
            new["num_prompt"],
            new["sampling"],
            new["stream"],
            new["sent_chars"],
            np.frombuffer(new["blocks"], "<i4").tolist(),
            self.extra_keys[new["request"]],
        )
        for token in ids:
            made.know(token)
        require(new["computed"] < len(ids), "at least the last token is to be computed")
        self._check_prefix(made, new["computed"])
        self.slots[slot] = made

    def _switch(self, plan: Plan) -> None:
        for (slot,) in ints(plan.get("decode_off"), 1):
            require(slot in self.decoding, f"slot {slot} does not decode")
            self.decoding.remove(slot)
        for (slot,) in ints(plan.get("decode_on"), 1):
            require(slot not in self.decoding, f"slot {slot} decodes already")
            self._slot(slot)
            self.decoding.add(slot)

    def _check_prefix(self, slot: Slot, count: int) -> None:
        for position in range(count):
            require(position // self.size < len(slot.table), f"{slot.request}: table too short")
            block = self.device[slot.table[position // self.size]]
            require(
                block[position % self.size] == slot.hashes[position],
                f"request {slot.request}: token {position} is not in block "
                f"{slot.table[position // self.size]}",
            )

    def _forward(self, plan: Plan) -> list[int]:
        """Compute; returns the slots whose rows are sampled, in order."""
        stretches = [(slot, len(self._slot(slot).ids) - 1, 1) for slot in sorted(self.decoding)]
        rows = [slot for slot, _, _ in stretches]
        for slot, start, count in ints(plan.get("prefill"), 3):
            require(slot not in self.decoding, f"slot {slot} prefills and decodes")
            require(count > 0 and start + count <= len(self._slot(slot).ids), "unknown tokens")
            stretches.append((slot, start, count))
            if start + count == len(self._slot(slot).ids):
                rows.append(slot)
        total = sum(count for _, _, count in stretches)
        require(total <= self.facts["max_step_tokens"], "more tokens than a step may have")
        require(len({slot for slot, _, _ in stretches}) == len(stretches), "a slot comes twice")
        self.forwards.append(total)
        self._compute(stretches)
        return rows

    def _compute(self, stretches: list[tuple[int, int, int]]) -> None:
        """All read what was there before the step, then all write."""
        for slot, start, count in stretches:
            if not self._slot(slot).is_over:
                self._check_prefix(self._slot(slot), start)
                self.computed_tokens += count
        for slot, start, count in stretches:
            state = self._slot(slot)
            for position in range(start, start + count):
                require(position // self.size < len(state.table), f"{slot}: table too short")
                block = self.device[state.table[position // self.size]]
                value = POISON if state.is_over else state.hashes[position]
                block[position % self.size] = value
        for slot, start, count in stretches:
            if not self._slot(slot).is_over:
                self._check_prefix(self._slot(slot), start + count)

    def _sample(self, number: int, rows: list[int]) -> Report:
        report: Report = {"plan": number, "texts": [], "ended": [], "failed": [], "logprobs": []}
        tokens = [self._sample_row(slot, report) for slot in rows]
        report["tokens"] = np.array(tokens, "<i4").tobytes()
        return report

    def _sample_row(self, number: int, report: Report) -> int:
        slot = self.slots[number]
        if slot.is_over:
            return NO_TOKEN
        if self.nature.fails(slot.hashes[-1]):
            slot.is_over = True
            report["failed"].append({"slot": number, "error": FAILURE})
            return NO_TOKEN
        token = self.nature.next_token(slot.hashes[-1], slot.sampling["seed"])
        slot.ids.append(token)
        slot.know(token)
        reason = self._reason(slot)
        if slot.stream:
            self._tell_text(number, slot, report, is_last=reason is not None)
        if "logprobs" in slot.sampling:
            report["logprobs"].append([number, {"id": token, "logprob": -1.0, "top": []}])
        if reason is not None:
            slot.is_over = True
            text, count = text_of(slot.emitted), len(slot.emitted)
            report["ended"].append(
                {"slot": number, "reason": reason, "text": text, "tokens": count}
            )
        return token

    def _reason(self, slot: Slot) -> Any:
        if self.nature.ends(slot.hashes[-1]):
            return "stop"
        return "length" if len(slot.emitted) == slot.sampling["max_tokens"] else None

    def _tell_text(self, number: int, slot: Slot, report: Report, *, is_last: bool) -> None:
        """Text comes in pairs of characters, as if every second token broke one apart."""
        text = text_of(slot.emitted)
        ready = text if is_last else text[: len(text) // 2 * 2]
        if len(ready) > slot.sent_chars:
            report["texts"].append([number, ready[slot.sent_chars :]])
            slot.sent_chars = len(ready)
