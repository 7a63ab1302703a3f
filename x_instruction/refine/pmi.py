"""Rating by pointwise mutual information: how much does the instruction make the response more likely?

``log p(response | instruction) - log p(response)``, in nats per token of the response. By Bayes it equals
``log p(instruction | response) - log p(instruction)``, here in nats, which costs far less: candidates share the reading
of the passage and only the few tokens of the instruction go through the vocabulary's projection. No tuning, no parsing.
"""

from __future__ import annotations

from collections.abc import Sequence

from x_instruction.config.refine import Refine
from x_instruction.engines import Ask, Engine, Failed, Scored, Scoring
from x_instruction.errors import EngineError
from x_instruction.languages import language
from x_instruction.prompts import instruction as prompts
from x_instruction.records import Candidate
from x_instruction.refine import Rating

needs = ("score",)


def rate(candidates: Sequence[Candidate], settings: Refine, engine: Engine, ask: Ask) -> list[Rating | Failed]:
    """One rating per candidate; ``score`` is the gain."""
    pairs = _by_response if settings.direction == "response" else _by_instruction
    requests = [request for candidate in candidates for request in pairs(candidate, settings, engine)]
    # The unconditional halves repeat: ask each request once.
    distinct = list(dict.fromkeys(requests))
    answers = dict(zip(distinct, ask(distinct), strict=True))
    ratings: list[Rating | Failed] = []
    for number in range(0, len(requests), 2):
        given, alone = answers[requests[number]], answers[requests[number + 1]]
        failed = next((answer for answer in (given, alone) if isinstance(answer, Failed)), None)
        if failed is not None:
            ratings.append(failed)
            continue
        assert isinstance(given, Scored)
        assert isinstance(alone, Scored)
        gain = given.log_likelihood - alone.log_likelihood
        ratings.append(Rating(gain / given.tokens if settings.direction == "response" else gain))
    return ratings


def _by_response(candidate: Candidate, settings: Refine, engine: Engine) -> tuple[Scoring, Scoring]:
    name = language(candidate.language).name
    text = engine.truncate(candidate.text, settings.response_tokens)
    alone = f"Answer in {name}:\n"
    return (
        Scoring(f"Question: {candidate.instruction}\n{alone}", text, settings.response_tokens),
        Scoring(alone, text, settings.response_tokens),
    )


def _by_instruction(candidate: Candidate, settings: Refine, engine: Engine) -> tuple[Scoring, Scoring]:
    source, into = language(candidate.language), language(candidate.instruction_language)
    template = prompts.choose("base-title", chat=False)
    shown = engine.truncate(candidate.text, settings.response_tokens)
    given, _ = prompts.ask(template, shown, source, into, "search", 0)
    alone, _ = prompts.ask(template, "", source, into, "search", 0)
    if not isinstance(given, str) or not isinstance(alone, str):
        raise EngineError("the pmi rater needs a plain prompt")
    continuation = f" {candidate.instruction}"
    return Scoring(given, continuation), Scoring(alone, continuation)
