"""Tokenize training examples: prompt tokens without a loss, followed by output tokens.

Prompts are tokenized exactly as the engines do it, so that training and inference have equal tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from x_instruction.engines.local.prompt_encoder import PromptEncoder
from x_instruction.engines.models import PLAIN, PLAIN_TOKENIZER, loading, locate
from x_instruction.errors import MissingExtra, TrainingError
from x_instruction.training.job import TrainingExample

try:
    from transformers import AutoConfig, AutoTokenizer
except ModuleNotFoundError as error:
    raise MissingExtra(error.name or "transformers", "train") from error


@dataclass(slots=True)
class Lengths:
    """Lengths of the rows in tokens, and the effect of the maximum length.

    Args:
        max_tokens: maximum length of a row; longer outputs are truncated.
        percentiles: percentiles of the lengths before truncation.
        rows: number of rows.
        truncated: number of rows whose output was truncated.
        dropped: number of rows whose prompt leaves no room for an output.
    """

    max_tokens: int
    percentiles: dict[str, int] = field(default_factory=dict)
    rows: int = 0
    truncated: int = 0
    dropped: int = 0


class ExampleEncoder:
    """Encodes training examples with a model's tokenizer.

    Args:
        name, revision: the model, as in recipes.

    Raises:
        TrainingError: the tokenizer or configuration cannot be loaded, or the tokenizer has no end token.
    """

    def __init__(self, name: str, revision: str = "main") -> None:
        files = locate(name, revision)
        self.model = files.name
        with loading(f"the tokenizer and configuration of {name!r}", TrainingError):
            self.tokenizer: Any = AutoTokenizer.from_pretrained(files.folder, **PLAIN_TOKENIZER)
            config = AutoConfig.from_pretrained(files.folder, **PLAIN)
        self.encoder = PromptEncoder(self.tokenizer, self.model)
        self.truncate, self.chat = self.encoder.truncate, self.encoder.chat
        self.context = int(getattr(config.get_text_config(), "max_position_embeddings", 0) or 1 << 30)
        if self.tokenizer.eos_token_id is None:
            raise TrainingError(
                f"the tokenizer of {self.model} has no end token, so no output could end: set eos_token in its "
                "tokenizer_config.json"
            )

    def encode(self, example: TrainingExample) -> tuple[list[int], int]:
        """Token ids of an example, and how many of them belong to the prompt."""
        if isinstance(example.prompt, str):
            if not example.prompt:
                raise TrainingError("a row has an empty prompt")
        elif not self.chat:
            raise TrainingError(f"{self.model} has no chat template: use a plain prompt, or a chat model as the base")
        prompt = self.encoder.prompt(example.prompt)
        if example.end and not isinstance(example.prompt, str):
            # The template knows what ends a turn. It is used unless it changes the prompt once there is an answer.
            whole = self.encoder.turns((*example.prompt, ("assistant", example.completion)), False)
            if whole[: len(prompt)] == prompt and len(whole) > len(prompt):
                return whole, len(prompt)
        output = self.encoder.text(example.completion)
        return prompt + output + [self.tokenizer.eos_token_id] * example.end, len(prompt)

    def rows(
        self, examples: Sequence[TrainingExample], max_tokens: int | None, percentile: float
    ) -> tuple[dict[int, dict[str, list[int]]], Lengths]:
        """Rows for a trainer, by index of their example: ``input_ids`` and ``labels`` (-100 for tokens without a loss).

        Args:
            examples: the examples.
            max_tokens: maximum length; if None, so that ``percentile`` percent of the rows fit.
            percentile: see ``max_tokens``.

        Raises:
            TrainingError: no row is left, or ``max_tokens`` exceeds the model's context.
        """
        if not examples:
            raise TrainingError("there is no row to train on")
        encoded = [self.encode(example) for example in examples]
        sizes = np.array([len(tokens) for tokens, _ in encoded])
        if max_tokens is not None and max_tokens > self.context:
            raise TrainingError(
                f"train.max_tokens is {max_tokens:,}, expected at most {self.context:,}, the context of {self.model}"
            )
        longest = max_tokens or min(self.context, int(np.percentile(sizes, percentile, method="inverted_cdf")))
        lengths = Lengths(longest, rows=len(encoded))
        lengths.percentiles = {
            f"{share:g}": int(np.percentile(sizes, share, method="inverted_cdf")) for share in (50, 90, 95, 99, 100)
        }
        rows: dict[int, dict[str, list[int]]] = {}
        for index, (tokens, start) in enumerate(encoded):
            if start >= longest:
                lengths.dropped += 1
                continue
            lengths.truncated += len(tokens) > longest
            rows[index] = {"input_ids": tokens[:longest], "labels": [-100] * start + tokens[start:longest]}
        if not rows:
            raise TrainingError(
                f"every prompt has at least {longest:,} tokens, so no output is left: raise train.max_tokens"
            )
        return rows, lengths
