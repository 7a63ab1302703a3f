"""How responses are rewritten from their natural text."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from x_instruction.config.corpus import LanguageThresholds
from x_instruction.config.fields import (
    MAX_ROW_BYTES,
    Invalid,
    NotNegativeFloat,
    Positive,
    PositiveFloat,
    RowBytes,
    Share,
)
from x_instruction.config.model import Model


class Rewriting(LanguageThresholds):
    """How responses are rewritten, and which rewrites are kept (instruction back-and-forth, arXiv 2408.04614)."""

    model: Model
    """The model that rewrites. Any engine but `batch`."""
    prompt: str = "rewrite-chat"
    """Name of a prompt, or path of a text with `{passage}`, its `{language}`, `{instruction}` and
    `{instruction_language}`."""
    fallback: Literal["natural", "drop"] = "natural"
    """What becomes of a pair whose rewrite fails a check: it keeps its `natural` text, or is dropped (`drop`)."""
    passage_tokens: Positive = 1_024
    """Most tokens of the natural text. Longer ones are not rewritten, because their end would be lost."""
    max_tokens: Positive = 1_536
    """Most new tokens of a rewrite."""
    temperature: NotNegativeFloat = 0.0
    """Sampling temperature. 0 is greedy decoding."""
    seed: int = 2405_19744
    """Random seed of the sampling."""
    min_length: Share = 0.2
    """Shortest rewrite, as a share of the natural text."""
    max_length: PositiveFloat = 1.3
    """Longest rewrite, as a share of the natural text. A longer one adds something."""
    check_numbers: bool = True
    """Refuse rewrites with numbers that neither the natural text nor the instruction has."""
    check_names: bool = True
    """Refuse rewrites with names that neither the natural text nor the instruction has."""
    max_row_bytes: RowBytes = MAX_ROW_BYTES

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.model.engine == "batch":
            raise Invalid("model.engine", 'is "batch", expected an engine that answers at once, such as openai')
        if self.min_length >= self.max_length:
            raise Invalid("min_length", f"is {self.min_length:g}, expected less than max_length, {self.max_length:g}")
        return self
