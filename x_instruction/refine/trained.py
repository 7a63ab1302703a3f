"""Rating by a model that was tuned on three levels: the paper's evaluator (section 3.2; method.md 2.3).

It answers ``yes`` (best), ``partly`` (flawed) or ``no`` (worst), and the probabilities of the three are read, never a
text. ``question`` also writes the rows that it is tuned on, so that both read the same tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from x_instruction.config.refine import Refine
from x_instruction.engines import Ask, Choice, Chosen, Engine, Failed
from x_instruction.languages import language
from x_instruction.prompts import template
from x_instruction.records import Candidate
from x_instruction.refine import Rating, calibration
from x_instruction.refine.prompted import SLOTS

needs = ("choose",)

# In the order of ``labels.LEVELS``; after a space each is one token of the embedded models.
ANSWERS = ("yes", "partly", "no")
# Stands for what of a response is not shown, so that a long one does not look like one that breaks off.
MORE = " […]"


class Reader(Protocol):
    """What of an engine decides how a pair is shown: any engine, or what will become one."""

    chat: bool
    """Whether the model has a chat template."""

    def truncate(self, text: str, tokens: int) -> str:
        """The longest start of the text that has at most this many tokens."""


def question(
    text: str, language_tag: str, instruction: str, instruction_language_tag: str, settings: Refine, by: Reader
) -> Choice:
    """What a rater is asked of one pair; its answers stand in the order of ``labels.LEVELS``.

    Args:
        text: the response, whole.
        language_tag: its language.
        instruction: what is asked.
        instruction_language_tag: language of that.
        settings: for the prompt and how much of the response is shown.
        by: the engine, or its tokenizer.

    Raises:
        RecipeError: no such prompt, or one with other slots.
    """
    name = settings.prompt if settings.prompt != "auto" else "rate-trained-chat" if by.chat else "rate-trained"
    prompt = template(name, SLOTS)
    shown = by.truncate(text, settings.response_tokens)
    filled = prompt.fill(
        passage=shown if len(shown) >= len(text) else f"{shown.rstrip()}{MORE}",
        language=language(language_tag).name,
        instruction=instruction,
        instruction_language=language(instruction_language_tag).name,
    )
    return Choice(filled, ANSWERS if prompt.chat else tuple(f" {answer}" for answer in ANSWERS))


def rate(candidates: Sequence[Candidate], settings: Refine, engine: Engine, ask: Ask) -> list[Rating | Failed]:
    """One rating per candidate; ``score`` is the probability of the best level, 0 to 1, calibrated where it can be."""
    requests = [
        question(c.text, c.language, c.instruction, c.instruction_language, settings, engine) for c in candidates
    ]
    known = calibration.of(settings.model)
    # Pairs may look the same once responses are cut: asked twice they would differ by rounding.
    distinct = list(dict.fromkeys(requests))
    answers = dict(zip(distinct, ask(distinct), strict=True))
    ratings: list[Rating | Failed] = []
    for answer in (answers[request] for request in requests):
        if isinstance(answer, Failed):
            ratings.append(answer)
            continue
        assert isinstance(answer, Chosen)
        p = np.array([answer.probabilities], dtype=np.float64)
        best, flawed, worst = (known.apply(p) if known else p)[0].tolist()
        ratings.append(Rating(best, p_best=best, p_flawed=flawed, p_worst=worst))
    return ratings
