"""From logits to tokens, all rows of a step at once.

Order of what is done to a row: repetition penalty, grammar, temperature, top-k, top-p, min-p;
then one uniform number (noise.py) chooses by the inverse of the cumulative distribution. Rows
with top-k or top-p are cumulated from the most likely token down, others in the order of the
vocabulary: a row's choice depends on its own options alone, never on its neighbours'.

Log-probabilities are the model's own, before all of the above.

Cost: a step of plain rows (greedy, nothing else) is one ``max``. top-p looks at the
``CANDIDATES`` most likely tokens and sorts the whole vocabulary only if these do not suffice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from actors.torch_engine import noise
from actors.torch_engine.grammar import Grammars, refusal
from actors.torch_engine.slots import Request
from ipc.errors import LLMOSError, NonFiniteLogitsError

CANDIDATES = 256


@dataclass(slots=True)
class Sampled:
    """One step's choice. A row that failed has token -1 and its error in ``failed``."""

    tokens: NDArray[np.int64]
    failed: dict[int, LLMOSError] = field(default_factory=dict)
    logprobs: dict[int, dict[str, Any]] = field(default_factory=dict)
    grammar_ends: list[int] = field(default_factory=list)  # rows


class Sampler:
    """See the module head. ``model``: its name, for errors."""

    def __init__(self, model: str, grammars: Grammars) -> None:
        self._model = model
        self._grammars = grammars

    def sample(
        self,
        logits: torch.Tensor,
        requests: Sequence[Request],
        plain: NDArray[np.bool_],
        positions: NDArray[np.int64],
    ) -> Sampled:
        """Choose a token for each row.

        plain: ``Options.is_plain`` of each row. positions: of the token that is to be chosen;
        ``tokens[:position]`` of the request are known.
        """
        peak, best = logits.max(dim=-1)
        # NaN and plus infinity are passed on by max; minus infinity is there if all are.
        finite = torch.isfinite(peak).numpy(force=True)
        result = Sampled(best.numpy(force=True))
        for row in np.flatnonzero(~finite).tolist():
            result.failed[row] = NonFiniteLogitsError(
                model=self._model, position=int(positions[row])
            )
        special = np.flatnonzero(~plain & finite)
        if len(special):
            for row in special.tolist():
                requests[row].memory["position"] = int(positions[row])
            self._sample_special(logits, requests, special, result)
        if result.failed:
            result.tokens[list(result.failed)] = -1
        return result

    def _sample_special(
        self,
        logits: torch.Tensor,
        requests: Sequence[Request],
        rows: NDArray[np.int64],
        result: Sampled,
    ) -> None:
        own = [requests[row] for row in rows.tolist()]
        raw = logits[torch.from_numpy(rows).to(logits.device)].float()
        scores = penalise(raw, own)
        scores = self._constrain(scores, own, rows, result)
        tokens = choose(scores, own)
        result.tokens[rows] = tokens.numpy(force=True)
        for index, request in enumerate(own):
            row = int(rows[index])
            if row in result.failed:
                continue
            token = int(result.tokens[row])
            if "seen" in request.memory:
                request.memory["seen"][token] = True
            if "matcher" in request.memory:
                self._advance(request, token, row, result)
            if request.options.logprobs is not None:
                result.logprobs[row] = log_probabilities(
                    raw[index], token, request.options.logprobs
                )

    def _constrain(
        self,
        scores: torch.Tensor,
        own: list[Request],
        rows: NDArray[np.int64],
        result: Sampled,
    ) -> torch.Tensor:
        scores = scores.clone()
        for index, request in enumerate(own):
            if not (request.options.schema or request.options.regex):
                continue
            try:
                if "matcher" not in request.memory:
                    said = request.tokens[request.num_prompt : request.num_known]
                    request.memory["matcher"] = self._grammars.matcher(request.options, said)
                allowed = self._grammars.allowed(request.memory["matcher"], scores.shape[1])
            except LLMOSError as error:
                result.failed[int(rows[index])] = error
                continue
            mask = torch.from_numpy(allowed).to(scores.device)
            scores[index].masked_fill_(~mask, float("-inf"))
        return scores

    def _advance(self, request: Request, token: int, row: int, result: Sampled) -> None:
        matcher = request.memory["matcher"]
        if not matcher.consume_token(token):
            result.failed[row] = refusal(matcher, f"its own token {token}")
        elif matcher.is_stopped():
            result.grammar_ends.append(row)


def penalise(scores: torch.Tensor, own: list[Request]) -> torch.Tensor:
    """Return the scores, tokens that occurred made less likely. Source: CTRL, Keskar 2019."""
    rows = [i for i, request in enumerate(own) if request.options.repetition_penalty != 1.0]
    if not rows:
        return scores
    for index in rows:
        request = own[index]
        if "seen" not in request.memory:
            seen = torch.zeros(scores.shape[1], dtype=torch.bool, device=scores.device)
            known = request.tokens[: request.memory["position"]].astype(np.int64)
            seen[torch.from_numpy(known).to(scores.device)] = True
            request.memory["seen"] = seen
    scores = scores.clone()
    seen = torch.stack([own[index].memory["seen"] for index in rows])
    penalty = _column(own, rows, lambda o: o.repetition_penalty, scores)
    part = scores[rows]
    less = torch.where(part > 0, part / penalty, part * penalty)
    scores[rows] = torch.where(seen, less, part)
    return scores


def choose(scores: torch.Tensor, own: list[Request]) -> torch.Tensor:
    """Return a token for each row."""
    tokens = scores.argmax(-1)
    drawn = [i for i, request in enumerate(own) if request.options.temperature > 0]
    if not drawn:
        return tokens
    seeds = np.array([own[i].options.seed for i in drawn], np.uint64)
    at = np.array([own[i].memory["position"] for i in drawn], np.uint64)
    draws = dict(zip(drawn, noise.uniform(seeds, at).tolist(), strict=True))
    ranked = [i for i in drawn if own[i].options.top_k or own[i].options.top_p < 1]
    for rows, pick in ((ranked, _pick_ranked), (sorted({*drawn} - {*ranked}), _pick_unranked)):
        if rows:
            heat = _column(own, rows, lambda o: o.temperature, scores)
            draw = torch.tensor([[draws[i]] for i in rows], dtype=torch.float64)
            tokens[rows] = pick(scores[rows] / heat, own, rows, draw.to(scores.device))
    return tokens


def _pick_unranked(
    scores: torch.Tensor, own: list[Request], rows: list[int], draw: torch.Tensor
) -> torch.Tensor:
    chances = scores.softmax(-1)
    floor = _column(own, rows, lambda o: o.min_p, scores)
    chances = chances.where(chances >= floor * chances.amax(-1, keepdim=True), 0.0)
    return _invert(chances, draw)


def _pick_ranked(
    scores: torch.Tensor, own: list[Request], rows: list[int], draw: torch.Tensor
) -> torch.Tensor:
    width = scores.shape[1]
    ks = [min(own[i].options.top_k or width, width) for i in rows]
    num = min(width, max(max((k for k in ks if k < width), default=1), CANDIDATES))
    kept, ids, is_enough = _rank(scores, own, rows, ks, num)
    if not is_enough:
        kept, ids, _ = _rank(scores, own, rows, ks, width)
    return ids.gather(1, _invert(kept, draw)[:, None])[:, 0]


def _rank(
    scores: torch.Tensor, own: list[Request], rows: list[int], ks: list[int], num: int
) -> tuple[torch.Tensor, torch.Tensor, bool]:
    """Return the chances of the ``num`` most likely, their ids, and whether these suffice."""
    values, ids = scores.topk(num, dim=-1)
    limit = torch.tensor([[k] for k in ks], device=scores.device)
    values = values.masked_fill(torch.arange(num, device=scores.device) >= limit, float("-inf"))
    is_whole = limit >= scores.shape[1]
    total = torch.where(
        is_whole, scores.logsumexp(-1, keepdim=True), values.logsumexp(-1, keepdim=True)
    )
    chances = (values - total).exp()
    mass = chances.cumsum(-1, dtype=torch.float64)
    top_p = _column(own, rows, lambda o: o.top_p, scores).double()
    is_enough = num == scores.shape[1] or bool((~is_whole | (mass[:, -1:] >= top_p)).all())
    floor = _column(own, rows, lambda o: o.min_p, scores) * chances[:, :1]
    keep = (mass - chances < top_p) & (chances >= floor)
    keep[:, 0] = True
    return chances.where(keep, 0.0), ids, is_enough


def _invert(chances: torch.Tensor, draw: torch.Tensor) -> torch.Tensor:
    """Return the index at which the cumulated chances pass ``draw`` of their sum."""
    mass = chances.cumsum(-1, dtype=torch.float64)
    found = torch.searchsorted(mass, draw * mass[:, -1:], right=True)[:, 0]
    # Rounding may lead behind the last possible token.
    last = chances.shape[1] - 1 - (chances > 0).flip(-1).int().argmax(-1)
    return torch.minimum(found, last)


def log_probabilities(logits: torch.Tensor, token: int, num: int) -> dict[str, Any]:
    """Return ipc.engine's entry of Report.logprobs: of the model, before sampling's filters."""
    logs = logits.log_softmax(-1)
    entry: dict[str, Any] = {"id": token, "logprob": float(logs[token]), "top": []}
    if num:
        values, ids = logs.topk(min(num, len(logs)))
        entry["top"] = [[i, v] for i, v in zip(ids.tolist(), values.tolist(), strict=True)]
    return entry


def _column(own: list[Request], rows: list[int], read: Any, like: torch.Tensor) -> torch.Tensor:
    return torch.tensor([[float(read(own[i].options))] for i in rows], device=like.device)
