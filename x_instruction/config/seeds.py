"""Which pairs are taken as seeds, and how they are translated."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import model_validator

from x_instruction.config.corpus import LanguageThresholds
from x_instruction.config.fields import (
    INPUT_ONLY,
    MAX_ROW_BYTES,
    AnyFloat,
    Invalid,
    Positive,
    PositiveFloat,
    RowBytes,
    Share,
    Strings,
    Tag,
    TagOrSame,
    Tags,
    asked_in,
)
from x_instruction.config.model import Model

# Defaults of ``Translation.min_score``, by hand and low enough for a free translation: chrF of 0 to 1, and nats per
# token of the original.
MIN_SCORES = {"chrf": 0.35, "likelihood": 0.3}


class Seeds(LanguageThresholds):
    """Which pairs are taken from trusted sources (docs/method.md 2.8 U1 and 3.1)."""

    paths: Annotated[Strings, INPUT_ONLY] = ()
    """Files of seeds for a run, with the placeholders of `corpus.paths`. A language without any uses the seeds of the
    others."""
    languages: Annotated[Tags, INPUT_ONLY] = ()
    """Languages whose seeds are taken. If empty, those of the recipe."""
    format: Literal["auto", "trees", "parallel", "pairs"] = "auto"
    """Content of the files: `trees` (OASST), `parallel` documents, `pairs`, or `auto`, which decides by their columns.
    Of a chat, the first exchange is a pair; its system text and later turns are counted as dropped."""
    instruction_language: TagOrSame = "en"
    """Language of the seeds' instructions: a tag, or `same` for that of their responses."""
    license: str = "unknown"
    """Licence of seeds whose rows do not state one."""
    count: Positive = 3_200
    """Most pairs to take. Humpback has 3,200. `seed` decides which ones, not their order."""
    seed: int = 2405_19744
    """Random seed for taking `count` pairs."""
    min_instruction_chars: Positive = 8
    """Shortest instruction of a seed, in characters, its input included."""
    max_instruction_chars: Positive = 4_000
    """Longest instruction of a seed, in characters, its input included."""
    min_chars: Positive = 40
    """Shortest response of a seed, in characters."""
    max_chars: Positive = 10_000
    """Longest response of a seed, in characters."""
    near_duplicate_jaccard: Share = 0.7
    """Jaccard similarity of word 3-grams from which the second of two responses is dropped."""
    exclude_eval: Annotated[Strings, INPUT_ONLY] = ()
    """Files of evaluation sets. Seeds that repeat a part of one are dropped."""
    overlap_words: Positive = 8
    """Length of a run of words shared with an evaluation set from which a pair is dropped. In scripts without spaces, 3
    characters count as 1 word."""
    max_row_bytes: RowBytes = MAX_ROW_BYTES

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        for least, most in (("min_chars", "max_chars"), ("min_instruction_chars", "max_instruction_chars")):
            if getattr(self, least) > getattr(self, most):
                raise Invalid(
                    least, f"is {getattr(self, least)}, expected at most {most}, which is {getattr(self, most)}"
                )
        return self

    def of(self, tag: str) -> Seeds:
        """The settings for responses in one language, with the language of their instructions filled in."""
        return self.replace(instruction_language=asked_in(self.instruction_language, tag))


class Translation(LanguageThresholds):
    """How the responses of seeds are translated, and which translations are kept."""

    model: Model
    """The translator. Any engine but `batch`."""
    back: Model | None = None
    """Translates back, or scores. If not set, `model`."""
    prompt: str = "auto"
    """Name of a prompt, or path of a text with `{passage}`, its `{language}` and `{into}`. `auto` is `translate-chat`
    for a model with a chat template, else `translate-base`."""
    language: Tag = "en"
    """Language of responses whose rows do not state one."""
    piece_chars: Positive = 600
    """Longest paragraph that is translated as a whole, in characters. Longer ones are split between sentences."""
    tokens_per_byte: PositiveFloat = 1.0
    """Most new tokens per byte of text. A tokenizer that hardly knows a script needs 1 token for each byte."""
    max_tokens: Positive = 1_024
    """Most new tokens for one piece of text."""
    score: Literal["chrf", "likelihood"] = "chrf"
    """`chrf`: similarity of the back-translation to the original, 0 to 1. `likelihood`: how much likelier the
    translation makes the original, in nats per token."""
    min_score: AnyFloat | None = None
    """Translations with a lower score are dropped. If not set, 0.35 for `chrf` and 0.3 for `likelihood`."""
    score_tokens: Positive = 256
    """For `likelihood`: most tokens of the original that are read. Of the translation, 4 times as many."""
    max_row_bytes: RowBytes = MAX_ROW_BYTES

    @model_validator(mode="after")
    def _answers_at_once(self) -> Self:
        for name, model in (("model", self.model), ("back", self.back)):
            if model is not None and model.engine == "batch":
                raise Invalid(
                    f"{name}.engine",
                    'is "batch", expected an engine that answers at once, such as openai: later requests depend on '
                    "earlier answers",
                )
        return self

    @property
    def threshold(self) -> float:
        """The lowest score that is kept."""
        return MIN_SCORES[self.score] if self.min_score is None else self.min_score
