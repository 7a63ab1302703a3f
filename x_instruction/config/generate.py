"""How instructions are written for passages."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from x_instruction.config.fields import (
    ALSO_TRAINING,
    TRAINING_ONLY,
    Invalid,
    NotNegative,
    NotNegativeFloat,
    Positive,
    Prompt,
    Share,
    Strings,
    Tag,
    TagOrSame,
)
from x_instruction.config.model import Model
from x_instruction.config.section import Section
from x_instruction.config.training import TrainConfig


class Span(Section):
    """Which part of a passage is the response."""

    prompt: Prompt = "span-chat"
    """Name of a prompt, or path of a text with `{passage}` and its `{language}`. The answer has two lines, `First:` and
    `Last:` with the first and the last words of the part, or is `NONE`."""
    fallback: Literal["drop", "passage"] = "drop"
    """What becomes of a passage if the quoted words are not in it exactly once, or if the part is too short: it is
    dropped, or kept whole and counted as `whole_passage`. A passage without any answer (`NONE`) is always dropped."""
    min_length: Share = 0.2
    """Shortest part, as a share of the passage."""
    max_tokens: Positive = 160
    """Most new tokens of the answer."""


class Generate(Section):
    """How instructions are written for passages (paper, section 3.1; docs/method.md 2.2)."""

    model: Model
    """The generator."""
    prompt: Prompt = "auto"
    """Name of a prompt in `x_instruction/prompts`, or path of a text file. `auto` is the title prompt for a base model
    and the chat prompt for a model with a chat template. `trained-auto` is the prompt of a trained generator, for an
    adapter that `model.adapter` names."""
    styles: Annotated[Strings, Field(min_length=1)] = ("question", "instruction")
    """Styles to ask for, in turn over the candidates. LongForm's are `instruction`, `question` and `search`. `genre`
    asks for an instruction that names the kind of text."""
    candidates: Positive = 4
    """Instructions sampled per passage."""
    instruction_language: TagOrSame = "en"
    """Language of the instructions: a tag, or `same` for the language of the response (MURI)."""
    route: Literal["direct", "translate"] = "direct"
    """`direct`: the model reads the passage. `translate` (MURI): it translates the passage into `pivot`, writes the
    instruction from the translation, and translates that into `instruction_language`."""
    pivot: Tag = "en"
    """For `route = "translate"`: language in which the instruction is written."""
    span: Span | None = None
    """The model first chooses the part of the passage that is an answer by itself, and quotes its first and last words.
    The response is that part of the text, character by character. Without this section it is the whole passage."""
    passage_tokens: Annotated[Positive, ALSO_TRAINING] = 512
    """Most tokens of a passage that the generator reads."""
    max_tokens: Positive | None = None
    """Most new tokens of an instruction. If not set, 96 for a chat prompt and 48 for a plain one."""
    thinking_tokens: NotNegative = 0
    """Tokens added to `max_tokens` for a model that thinks before it answers and whose thinking cannot be turned
    off."""
    temperature: NotNegativeFloat = 0.7
    """Sampling temperature. 0 is greedy decoding. Humpback has 0.7."""
    top_p: Share = 0.9
    """Nucleus sampling: the smallest set of tokens with this much probability. Humpback has 0.9."""
    top_k: NotNegative = 64
    """Sample from this many of the likeliest tokens. 0 is all."""
    min_chars: Positive = 12
    """Shortest usable instruction, in characters."""
    max_chars: Positive = 600
    """Longest usable instruction, in characters."""
    max_sentences: Positive = 1
    """Most sentences or questions of an instruction."""
    max_copy: Share = 0.5
    """Longest run of characters copied from the passage, as a share of the instruction. Names do not count."""
    length_hint: Share = 0.0
    """Share of the candidates that also state, in English, how many sentences the response has (LongForm)."""
    train: Annotated[TrainConfig | None, TRAINING_ONLY] = None
    """Trains the generator on the seeds before it writes: from a response to its instruction. Without this section the
    generator is prompted."""
    trained_prompt: Annotated[Prompt, TRAINING_ONLY] = "auto"
    """Prompt of the generator that `train` makes, as for `prompt`."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.min_chars > self.max_chars:
            raise Invalid("min_chars", f"is {self.min_chars}, expected at most max_chars, which is {self.max_chars}")
        if self.length_hint and self.instruction_language != "en":
            raise Invalid(
                "length_hint",
                f"is {self.length_hint:g} and instruction_language is {self.instruction_language!r}, expected 0: the "
                "hint is an English sentence",
            )
        if self.span and self.train:
            raise Invalid(
                "span", "is set and [generate.train] is set, expected a prompted model: it also chooses spans"
            )
        if self.route == "translate" and (self.train or self.model.engine == "batch"):
            got = "[generate.train] is set" if self.train else 'model.engine is "batch"'
            raise Invalid(
                "route",
                f'is "translate" and {got}, expected a prompted model that answers at once: it also translates, and '
                "later requests depend on earlier answers",
            )
        return self
