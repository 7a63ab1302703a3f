"""Rating by a model that was trained on three levels: the evaluator of the paper (section 3.2).

It answers ``yes`` (best), ``partly`` (flawed) or ``no`` (worst). The probabilities of these are used, and no text is
generated. ``question`` also makes the training rows, so that both have the same tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np

from x_instruction.config.refine import Refine
from x_instruction.engines import Ask, Choice, Chosen, Engine, Failed
from x_instruction.engines.truncation import Truncate, shorten
from x_instruction.languages import language
from x_instruction.prompts import template
from x_instruction.records import Candidate
from x_instruction.refine import Rating, calibration
from x_instruction.refine.prompted import SLOTS

needs = ("choose",)

# In the order of ``labels.LEVELS``. After a space, each is one token of the embedded models.
ANSWERS = ("yes", "partly", "no")


class Reader(Protocol):
    """The part of an engine that determines the prompt: an engine, or a tokenizer before there is one."""

    chat: bool
    """Whether the model has a chat template."""

    def truncate(self, text: str, tokens: int) -> str:
        """The longest start of the text that has at most this many tokens."""


def question(
    text: str,
    language_tag: str,
    instruction: str,
    instruction_language_tag: str,
    settings: Refine,
    by: Reader,
    shortened: Callable[[str, int, Truncate, float], str] = shorten,
) -> Choice:
    """The request for the level of one pair. The answers are in the order of ``labels.LEVELS``.

    Args:
        text: the whole response.
        language_tag: language of the response.
        instruction: the instruction.
        instruction_language_tag: language of the instruction.
        settings: the prompt, and how much of the response is shown.
        by: the engine, or its tokenizer.
        shortened: ``shorten``, or what remembers its results.

    Raises:
        RecipeError: unknown prompt, or one with other slots.
    """
    name = settings.prompt if settings.prompt != "auto" else "rate-trained-chat" if by.chat else "rate-trained"
    prompt = template(name, SLOTS)
    filled = prompt.fill(
        # Only the start unless the recipe says otherwise: the adapters that ship were trained on that.
        passage=shortened(text, settings.response_tokens, by.truncate, settings.tail_share or 0.0),
        language=language(language_tag).name,
        instruction=instruction,
        instruction_language=language(instruction_language_tag).name,
    )
    return Choice(filled, ANSWERS if prompt.chat else tuple(f" {answer}" for answer in ANSWERS))


def rate(candidates: Sequence[Candidate], settings: Refine, engine: Engine, ask: Ask) -> list[Rating | Failed]:
    """One rating per candidate; ``score`` is the probability of the best level, 0 to 1, calibrated if possible."""
    # The candidates of a page follow each other, and tokenizing takes long.
    shortened = lru_cache(maxsize=4)(shorten)
    requests = [
        question(c.text, c.language, c.instruction, c.instruction_language, settings, engine, shortened)
        for c in candidates
    ]
    fitted = calibration.of(settings.rater_model)
    # Pairs may be equal once responses are truncated. Requested twice, their answers could differ by rounding.
    distinct = list(dict.fromkeys(requests))
    answers = dict(zip(distinct, ask(distinct), strict=True))
    ratings: list[Rating | Failed] = []
    for answer in (answers[request] for request in requests):
        if isinstance(answer, Failed):
            ratings.append(answer)
            continue
        assert isinstance(answer, Chosen)
        p = np.array([answer.probabilities], dtype=np.float64)
        best, flawed, worst = (fitted.apply(p) if fitted else p)[0].tolist()
        ratings.append(Rating(best, p_best=best, p_flawed=flawed, p_worst=worst))
    return ratings
