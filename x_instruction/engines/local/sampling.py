"""Sampling and stopping for transformers' ``generate``: one seed per request, stop strings found in the text."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from transformers import LogitsProcessor, PreTrainedTokenizerBase, StoppingCriteria

from x_instruction.engines import Completion

# Stop strings are searched in the text of this many last tokens, which is enough for every stop of the prompts here.
STOP_TAIL = 8


class SeededSampling(LogitsProcessor):  # type: ignore[misc]
    """Temperature, top-k, top-p and the draw itself, with one random generator per row.

    The Gumbel-max trick turns the arg-max of greedy ``generate`` into an exact sample. So a row's text depends on the
    seed of its request and not on the rest of the batch, and only the top k tokens are sorted, not a vocabulary of
    262,144.
    """

    def __init__(self, requests: Sequence[Completion]) -> None:
        self.requests = requests
        self.generators = [torch.Generator().manual_seed(request.seed) for request in requests]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores (rows, vocabulary): 0 for the sampled token, minus infinity for all others."""
        first = self.requests[0]
        if first.temperature == 0:
            return scores
        k = min(first.top_k or scores.shape[-1], scores.shape[-1])
        top, tokens = torch.topk(scores.float() / first.temperature, k, dim=-1)
        if first.top_p < 1:
            probabilities = torch.softmax(top, dim=-1)
            before = probabilities.cumsum(-1) - probabilities
            top = top.masked_fill(before >= first.top_p, float("-inf"))
        uniform = torch.stack([torch.rand(k, generator=generator) for generator in self.generators])
        gumbel = -torch.log(-torch.log(uniform.clamp(1e-12, 1 - 1e-7)))
        drawn = (top + gumbel.to(top.device)).argmax(-1, keepdim=True)
        chosen = torch.full_like(scores, float("-inf"))
        return chosen.scatter(-1, tokens.gather(-1, drawn), 0.0)

    def keep(self, rows: Sequence[int]) -> None:
        """Leave all rows but these out from now on."""
        self.generators = [self.generators[row] for row in rows]


class EachStep(StoppingCriteria):  # type: ignore[misc]
    """Calls a function after every step, and ends no row."""

    def __init__(self, function: Callable[[], None]) -> None:
        self.function = function

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: object) -> torch.Tensor:
        """That no row is finished, as a boolean tensor (rows,)."""
        self.function()
        return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)


class StopAt(StoppingCriteria):  # type: ignore[misc]
    """Ends a row once its new text contains a stop string."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stops: tuple[str, ...], prompt_length: int) -> None:
        self.tokenizer = tokenizer
        self.stops = stops
        self.prompt_length = prompt_length

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: object) -> torch.Tensor:
        """Whether each row is finished, as a boolean tensor (rows,)."""
        new = input_ids[:, max(self.prompt_length, input_ids.shape[1] - STOP_TAIL) :]
        texts = self.tokenizer.batch_decode(new, skip_special_tokens=True)
        done = [any(stop in text for stop in self.stops) for text in texts]
        return torch.tensor(done, device=input_ids.device)
